"""core.repositories.datasets: versions that share the rows of what they share."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from core.artifacts.dataset_files import StoredImage
from core.db.database import Database
from core.db.tables import DatasetImage, JobStatus
from core.errors import InvalidInput, NotFound
from core.recipes.recipe import Recipe
from core.repositories import datasets, jobs
from core.settings import Settings
from tests.conftest import EACH_DATABASE, NOW, url_of


@pytest.fixture(params=EACH_DATABASE)
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


def image(label: str, content: str) -> StoredImage:
    return StoredImage("train", label, f"{content}.png", content)


def change(db: Database, *wanted: StoredImage, name: str = "pets") -> int:
    """Make a version of these images; returns its number."""
    with db.write() as session:
        datasets.lock(session, name)
        newest = datasets.newest(session, name)
        old = datasets.images(session, name, newest.version) if newest else []
        new = datasets.keep_numbers(old, wanted)
        return datasets.add_version(session, name, old, new, {"images": len(new)}, NOW).version


def delete(db: Database, *versions: int) -> None:
    with db.write() as session:
        datasets.lock(session, "pets")
        datasets.delete_versions(session, "pets", *versions)


def seen(db: Database, version: int) -> list[str]:
    with db.read() as session:
        return [one.label + one.digest for one in datasets.images(session, "pets", version)]


def numbers(db: Database, version: int) -> list[int]:
    with db.read() as session:
        return [one.number for one in datasets.images(session, "pets", version)]


def rows(db: Database) -> int:
    with db.read() as session:
        return session.scalar(select(func.count()).select_from(DatasetImage)) or 0


A, B, C = image("cat", "a"), image("cat", "b"), image("dog", "c")


def test_each_version_keeps_its_images_whatever_comes_after_it(db: Database) -> None:
    kinds: Sequence[tuple[StoredImage, ...]] = ((A, B, C), (A, C), (A, image("dog", "b"), C), (A, A))
    assert [change(db, *wanted) for wanted in kinds] == [1, 2, 3, 4]
    assert [seen(db, version) for version in (1, 2, 3, 4)] == [
        ["cata", "catb", "dogc"],
        ["cata", "dogc"],
        ["cata", "dogb", "dogc"],
        ["cata", "cata"],
    ]
    assert rows(db) == 5  # a row for each place of an image
    assert (numbers(db, 1), numbers(db, 4)) == ([1, 2, 3], [1, 5])


def test_a_name_means_the_newest_version_and_others_are_named(db: Database) -> None:
    change(db, A)
    change(db, B)
    with db.read() as session:
        assert [datasets.find(session, name).version for name in ("pets", "pets/1", "pets/2")] == [2, 1, 2]
        assert [datasets.held(session, name) for name in ("pets", "pets/1", "mnist")] == ["pets/2", "pets/1", "mnist"]
        for missing in ("pets/3", "cars/1"):
            with pytest.raises(NotFound):
                datasets.held(session, missing)


def test_what_no_version_has_any_more_goes_with_the_last_that_had_it(db: Database) -> None:
    for wanted in ((A, B), (A, C), (C,)):
        change(db, *wanted)
    delete(db, 2)
    with db.read() as session:
        assert datasets.unused(session, "pets", ["a", "b", "c"]) == set()
    delete(db, 1)
    with db.read() as session:
        assert datasets.unused(session, "pets", ["a", "b", "c"]) == {"a", "b"}
    assert (seen(db, 3), rows(db)) == (["dogc"], 1)


def test_without_its_newest_version_a_data_set_is_what_it_was_before(db: Database) -> None:
    change(db, A, B)
    change(db, C)
    delete(db, 2)
    assert change(db, A, B, C) == 3  # no number comes twice
    assert (seen(db, 1), seen(db, 3)) == (["cata", "catb"], ["cata", "catb", "dogc"])


def test_other_data_sets_are_not_touched(db: Database) -> None:
    change(db, A)
    change(db, A, B, name="cars")
    delete(db, 1)
    with db.read() as session:
        assert (datasets.names(session), datasets.unused(session, "cars", ["a", "b"])) == (["cars"], set())
        assert [(row.dataset, row.version) for row in datasets.newest_of_all(session)] == [("cars", 1)]


def test_a_job_names_a_version_or_it_is_deleted_and_never_both(db: Database) -> None:
    """Two at once, many times: whoever comes second sees what the first has done."""

    def enqueue(reference: str) -> bool:
        with db.write() as session:
            try:
                jobs.enqueue(session, Recipe(dataset=reference), NOW, queue_limit=100)
            except InvalidInput:
                return False
        return True

    def remove(version: int) -> bool:
        with db.write() as session:
            datasets.lock(session, "pets")
            datasets.claim_versions(session, f"pets/{version}")
            if jobs.on_dataset(session, f"pets/{version}", frozenset(JobStatus)):
                return False
            datasets.delete_versions(session, "pets", version)
        return True

    change(db, A)
    with ThreadPoolExecutor(2) as pool:
        for content in "bcdefghijk":
            version = change(db, image("cat", content))
            named, removed = pool.submit(enqueue, f"pets/{version}"), pool.submit(remove, version)
            assert (named.result(60), removed.result(60)) in ((True, False), (False, True))


def test_changes_of_one_data_set_wait_for_each_other(db: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(change, db, image("cat", content)) for content in "abcdefgh"]
        assert sorted(one.result(60) for one in made) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert rows(db) == 8
    assert len(seen(db, 8)) == 1
