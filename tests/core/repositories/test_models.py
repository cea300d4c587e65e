"""core.repositories.models: versions and movable names."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from core.db.database import Database
from core.db.tables import Job, Model
from core.errors import Conflict, NotFound
from core.repositories import aliases, models
from core.settings import Settings
from tests.conftest import EACH_DATABASE, NOW, url_of
from tests.support.fakes import model_card

Published = Callable[..., Model]


@pytest.fixture(params=EACH_DATABASE)
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


def named(db: Database, name: str) -> str:
    with db.read() as session:
        return models.find(session, name).id


def test_the_first_model_gets_every_name(db: Database, published: Published) -> None:
    model = published()
    references = (model.id, "digits", "digits/1", "digits@latest", "digits@best", "digits@serving")
    assert {named(db, reference) for reference in references} == {model.id}


def test_versions_count_up(published: Published) -> None:
    assert [published().version for _ in range(3)] == [1, 2, 3]


def test_a_worse_model_is_the_latest_and_not_the_best(db: Database, published: Published) -> None:
    better, worse = published(accuracy=0.9), published(accuracy=0.8)
    assert named(db, "digits@best") == better.id
    assert named(db, "digits@latest") == named(db, "digits@serving") == worse.id


def test_of_equally_good_ones_the_newer_is_the_best(db: Database, published: Published) -> None:
    published(accuracy=0.9)
    newer = published(accuracy=0.9)
    assert named(db, "digits@best") == newer.id


def test_the_best_is_the_best_on_the_newest_ones_data(db: Database, published: Published) -> None:
    published(accuracy=0.99, dataset="mnist", name="digits")
    on_fashion = published(accuracy=0.8, dataset="fashion_mnist", name="digits")
    assert named(db, "digits@best") == on_fashion.id


def test_the_best_is_the_best_of_those_that_were_tested_on_the_same_images(db: Database, published: Published) -> None:
    first = published(accuracy=0.9, name="digits", test_digest="of version 1")
    second = published(accuracy=0.8, name="digits", test_digest="of version 2")
    assert named(db, "digits@best") == second.id
    published(accuracy=0.7, dataset="cats and dogs", test_digest="of version 2")
    assert named(db, "digits@best") == second.id
    published(accuracy=0.6, name="digits", test_digest="of version 1", dataset_digest="with more training images")
    assert named(db, "digits@best") == first.id


def test_a_job_publishes_once(db: Database, published: Published) -> None:
    first = published()
    with pytest.raises(IntegrityError), db.write() as session:
        models.publish(session, "model_again", first.job_id, "models/again", model_card(), NOW)
    assert named(db, "digits@latest") == first.id


def test_a_publication_that_is_rolled_back_moves_no_name(db: Database, published: Published) -> None:
    first = published()

    def publish_and_fail() -> None:
        with db.write() as session:
            models.publish(session, "model_x", "job_x", "models/x", model_card(), NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        publish_and_fail()
    assert named(db, "digits@serving") == first.id


@pytest.mark.parametrize("name", ["digits", "digits@latest", "digits/1", "model_1", "", "LATEST", "a/b/c", "digits@"])
def test_a_name_of_nothing_is_not_found(db: Database, name: str) -> None:
    with db.read() as session, pytest.raises(NotFound):
        models.find(session, name)


def test_pages_are_newest_first_and_meet_without_overlap(db: Database, published: Published) -> None:
    made = [published().id for _ in range(5)]
    with db.read() as session:
        first, more = models.page(session, None, None, limit=3)
        rest, last = models.page(session, None, first[-1].id, limit=3)
    assert [model.id for model in first + rest] == made[::-1]
    assert (more, last) == (True, False)


def test_names_are_listed_by_model(db: Database, published: Published) -> None:
    better, worse = published(accuracy=0.9), published(accuracy=0.8)
    with db.read() as session:
        assert aliases.by_model(session, better.id, worse.id) == {better.id: ["best"], worse.id: ["latest", "serving"]}


# -- whether a new model takes over


@pytest.mark.parametrize(
    ("policy", "accuracy", "other", "serves", "words"),
    [
        ("always", 0.1, {}, True, "always"),
        ("always", 0.1, {"dataset": "mnist", "name": "digits"}, True, "always"),
        ("if_better", 0.91, {}, True, "0.9100, and 0.9000 of digits/1"),
        ("if_better", 0.9, {}, False, "0.9000, and 0.9000 of digits/1"),
        ("if_better", 0.89, {}, False, "0.8900, and 0.9000 of digits/1"),
        (
            "if_better",
            0.99,
            {"dataset": "mnist", "name": "digits"},
            False,
            "digits/1, which is serving, was tested on other images",
        ),
        ("if_better", 0.99, {"test_digest": "others"}, False, "tested on other images"),
        ("if_better", 0.91, {"dataset_digest": "with more training images"}, True, "0.9100, and 0.9000 of digits/1"),
        ("manual", 0.99, {}, False, "PUT /models/digits/aliases/serving"),
    ],
)
def test_serving_moves_as_the_recipe_says(
    db: Database,
    published: Published,
    policy: str,
    accuracy: float,
    other: dict[str, str],
    serves: bool,
    words: str,
) -> None:
    old, new = published(accuracy=0.9), published(accuracy=accuracy, publish=policy, **other)
    assert (named(db, "digits@serving"), named(db, "digits@latest")) == ((new if serves else old).id, new.id)
    assert new.card["publication"]["serving"] is serves
    assert words in new.card["publication"]["reason"]


def test_a_model_of_balanced_classes_takes_over_by_their_mean_recall(db: Database, published: Published) -> None:
    def recalls(*shares: float) -> list[dict[str, Any]]:
        return [{"images": 10, "recall": share} for share in shares] + [{"images": 0, "recall": None}]

    balanced = {"class_weights": "balanced", "publish": "if_better"}
    old = published(accuracy=0.95, per_class=recalls(1.0, 0.2))
    worse = published(accuracy=0.99, per_class=recalls(1.0, 0.1), recipe=balanced)
    assert named(db, "digits") == old.id
    assert "mean recall 0.5500, and 0.6000" in worse.card["publication"]["reason"]
    fairer = published(accuracy=0.90, per_class=recalls(0.9, 0.8), recipe=balanced)
    assert named(db, "digits") == fairer.id


@pytest.mark.parametrize(("policy", "serves"), [("always", True), ("if_better", True), ("manual", False)])
def test_where_nothing_serves_only_manual_waits_for_a_person(
    db: Database, published: Published, policy: str, serves: bool
) -> None:
    model = published(publish=policy)
    with db.read() as session:
        target = aliases.target(session, "digits", "serving")
    assert (target is not None and target.model.id == model.id) is serves


def test_if_better_looks_at_what_serves_and_not_at_the_best(db: Database, published: Published) -> None:
    published(accuracy=0.95)
    published(accuracy=0.8)
    better = published(accuracy=0.9, publish="if_better")
    assert named(db, "digits@serving") == better.id


# -- aliases by hand


def point(db: Database, alias: str, model: Model) -> None:
    with db.write() as session:
        aliases.set_alias(session, model.name, alias, model.version, NOW + 1)


def test_an_alias_is_made_and_moved_and_follows_no_other(db: Database, published: Published) -> None:
    first, second = published(), published()
    point(db, "shop", first)
    assert named(db, "digits@shop") == first.id
    point(db, "shop", second)
    published()
    assert named(db, "digits@shop") == second.id


def test_a_job_moves_serving_again_after_a_person_did(db: Database, published: Published) -> None:
    first, _ = published(), published()
    point(db, "serving", first)
    third = published()
    assert named(db, "digits@serving") == third.id


@pytest.mark.parametrize("alias", ["latest", "best"])
def test_what_follows_by_itself_is_not_moved_by_hand(db: Database, published: Published, alias: str) -> None:
    first, second = published(), published()
    with pytest.raises(Conflict, match="by itself"):
        point(db, alias, first)
    with pytest.raises(Conflict, match="by itself"), db.write() as session:
        aliases.delete_alias(session, "digits", alias)
    assert named(db, f"digits@{alias}") == second.id


def test_an_alias_of_nothing_is_refused(db: Database, published: Published) -> None:
    published()
    with pytest.raises(NotFound, match="no model digits/2"), db.write() as session:
        aliases.set_alias(session, "digits", "shop", 2, NOW)
    with pytest.raises(NotFound, match="no alias digits@shop"), db.write() as session:
        aliases.delete_alias(session, "digits", "shop")


def test_without_its_alias_serving_a_name_answers_nothing(db: Database, published: Published) -> None:
    point(db, "shop", published())
    with db.write() as session:
        aliases.delete_alias(session, "digits", "shop")
        aliases.delete_alias(session, "digits", "serving")
    with db.read() as session:
        assert aliases.targets(session, "digits").keys() == {"latest", "best"}
        assert aliases.default_name(session) is None
        with pytest.raises(NotFound):
            models.find(session, "digits")


# -- names


def test_each_name_counts_and_moves_for_itself(db: Database, published: Published) -> None:
    digit, ant, other = published(accuracy=0.9), published(name="pets"), published(accuracy=0.8)
    assert [(model.name, model.version) for model in (digit, ant, other)] == [("digits", 1), ("pets", 1), ("digits", 2)]
    assert named(db, "pets") == named(db, "pets@best") == ant.id
    assert (named(db, "digits"), named(db, "digits@best")) == (other.id, digit.id)


def test_a_version_with_other_classes_waits_for_a_person(db: Database, published: Published) -> None:
    old, other = published(name="pets"), published(name="pets", classes=["ant", "bee"])
    assert (named(db, "pets"), named(db, "pets@latest")) == (old.id, other.id)
    assert "classes differ from those of pets/1" in other.card["publication"]["reason"]
    point(db, "serving", other)
    assert named(db, "pets") == other.id


def default(db: Database) -> aliases.DefaultName | None:
    with db.read() as session:
        return aliases.default_name(session)


def test_the_default_name_is_the_one_published_to_last(db: Database, published: Published) -> None:
    assert default(db) is None
    published()
    published(name="pets", at=NOW + 1)
    assert default(db) == aliases.DefaultName("pets", pinned=False)
    published(name="digits", at=NOW + 2)
    assert default(db) == aliases.DefaultName("digits", pinned=False)
    published(name="pets", publish="manual", at=NOW + 3)
    assert default(db) == aliases.DefaultName("digits", pinned=False), "nothing else serves since"


def test_a_pinned_name_stays_the_default_until_it_is_unpinned(db: Database, published: Published) -> None:
    published()
    published(name="pets", at=NOW + 1)
    with db.write() as session:
        aliases.pin_default(session, "pets")
        aliases.pin_default(session, "digits")
    published(name="pets", at=NOW + 2)
    assert default(db) == aliases.DefaultName("digits", pinned=True)
    with db.write() as session:
        aliases.unpin_default(session)
    assert default(db) == aliases.DefaultName("pets", pinned=False)
    with pytest.raises(NotFound, match="under the name cats"), db.write() as session:
        aliases.pin_default(session, "cats")


# -- deletion


def delete_files(db: Database, name: str) -> None:
    with db.write() as session:
        models.delete_files(session, name, NOW)


def delete(db: Database, name: str) -> None:
    delete_files(db, name)
    with db.write() as session:
        models.delete(session, name, NOW)


def test_a_model_that_an_alias_names_is_not_deleted(db: Database, published: Published) -> None:
    first, second = published(), published()
    point(db, "shop", first)
    with pytest.raises(Conflict, match="still shop"):
        delete_files(db, first.id)
    with pytest.raises(Conflict, match="still serving"):
        delete_files(db, "digits@latest")
    with db.read() as session:
        assert models.find_whole(session, second.id).id == second.id


def test_without_its_files_a_model_is_a_record_that_cannot_answer(db: Database, published: Published) -> None:
    first, _ = published(accuracy=0.7), published()
    delete_files(db, first.id)
    with db.read() as session:
        assert models.find(session, first.id).test_accuracy == 0.7
        with pytest.raises(Conflict, match="files of model_1 were deleted"):
            models.find_whole(session, first.id)
    with pytest.raises(Conflict, match="were deleted"):
        point(db, "serving", first)


def test_a_deleted_model_is_nowhere_and_its_job_stays(db: Database, published: Published) -> None:
    first, second = published(), published()
    with db.write() as session:
        session.add(Job(id="job_x", status="succeeded", recipe={}, created_at=NOW, model_id=first.id))
    delete(db, first.id)
    with db.read() as session:
        assert [model.id for model in models.page(session, None, None, 10)[0]] == [second.id]
        with pytest.raises(NotFound):
            models.find(session, first.id)
        assert session.get_one(Job, "job_x").model_id == first.id
    with pytest.raises(NotFound):
        delete_files(db, first.id)


def test_the_best_model_is_one_that_still_has_its_files(db: Database, published: Published) -> None:
    best, second = published(accuracy=0.95), published(accuracy=0.9)
    delete_files(db, best.id)
    assert named(db, "digits@best") == second.id


def test_versions_go_on_after_a_deletion(db: Database, published: Published) -> None:
    first, second = published(accuracy=0.8), published()
    delete(db, first.id)
    assert published().version == second.version + 1


def test_models_that_served_are_known_the_last_one_first(db: Database, published: Published) -> None:
    made = [published().id for _ in range(5)]
    with db.write() as session:
        for after, model_id in enumerate((made[2], made[0], made[1])):
            models.mark_served(session, model_id, NOW + after)
    delete_files(db, made[1])
    with db.read() as session:
        last = models.find(session, made[4])
        assert [model.id for model in models.served_before(session, last, 9)] == [made[0], made[2]]
        assert [model.id for model in models.served_before(session, models.find(session, made[0]), 9)] == [made[2]]
        assert len(models.served_before(session, last, 1)) == 1
