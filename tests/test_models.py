"""core.models: versions and movable names."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.exc import IntegrityError

from core import models
from core.db import Database
from core.errors import NotFound
from core.settings import Settings
from core.tables import Model
from tests.conftest import EACH_DATABASE, NOW, url_of
from tests.fakes import model_card

Published = Callable[..., Model]


@pytest.fixture(params=EACH_DATABASE)
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


def named(db: Database, name: str) -> str:
    with db.read() as session:
        return models.find(session, name).id


def test_the_first_model_gets_every_name(db: Database, published: Published) -> None:
    model = published()
    assert {named(db, name) for name in (model.id, "latest", "best", "serving")} == {model.id}


def test_versions_count_up(published: Published) -> None:
    assert [published().version for _ in range(3)] == [1, 2, 3]


def test_a_worse_model_is_the_latest_and_not_the_best(db: Database, published: Published) -> None:
    better, worse = published(accuracy=0.9), published(accuracy=0.8)
    assert (named(db, "best"), named(db, "latest"), named(db, "serving")) == (better.id, worse.id, worse.id)


def test_of_equally_good_ones_the_newer_is_the_best(db: Database, published: Published) -> None:
    published(accuracy=0.9)
    newer = published(accuracy=0.9)
    assert named(db, "best") == newer.id


def test_the_best_is_the_best_on_the_newest_ones_data(db: Database, published: Published) -> None:
    published(accuracy=0.99, dataset="mnist")
    on_fashion = published(accuracy=0.8, dataset="fashion_mnist")
    assert named(db, "best") == on_fashion.id


def test_a_job_publishes_once(db: Database, published: Published) -> None:
    first = published()
    with pytest.raises(IntegrityError), db.write() as session:
        models.publish(session, "model_again", first.job_id, "models/again", model_card(), NOW)
    assert named(db, "latest") == first.id


def test_a_publication_that_is_rolled_back_moves_no_name(db: Database, published: Published) -> None:
    first = published()

    def publish_and_fail() -> None:
        with db.write() as session:
            models.publish(session, "model_x", "job_x", "models/x", model_card(), NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        publish_and_fail()
    assert named(db, "serving") == first.id


@pytest.mark.parametrize("name", ["latest", "serving", "model_1", "", "LATEST"])
def test_a_name_of_nothing_is_not_found(db: Database, name: str) -> None:
    with db.read() as session, pytest.raises(NotFound):
        models.find(session, name)


def test_pages_are_newest_first_and_meet_without_overlap(db: Database, published: Published) -> None:
    made = [published().id for _ in range(5)]
    with db.read() as session:
        first, more = models.page(session, None, limit=3)
        rest, last = models.page(session, first[-1].version, limit=3)
    assert [model.id for model in first + rest] == made[::-1]
    assert (more, last) == (True, False)


def test_names_are_listed_by_model(db: Database, published: Published) -> None:
    better, worse = published(accuracy=0.9), published(accuracy=0.8)
    with db.read() as session:
        assert models.aliases(session) == {better.id: ["best"], worse.id: ["latest", "serving"]}
