"""core.repositories.uploads: whose an upload is, and how long."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from core.db.database import Database
from core.errors import Overloaded
from core.repositories import uploads
from core.settings import Settings
from tests.conftest import EACH_DATABASE, NOW, url_of


@pytest.fixture(params=EACH_DATABASE)
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


def test_a_row_says_whose_an_upload_is_and_how_long(db: Database) -> None:
    with db.write() as session:
        ids = [uploads.add(session, 10**17, None, owner, NOW + at).id for at, owner in enumerate(("key_a", None))]
    with db.read() as session:
        rows = uploads.everyone(session)
        assert [(row.id, row.owner, row.length, row.created_at) for row in rows] == [
            (ids[0], "key_a", 10**17, NOW),
            (ids[1], None, 10**17, NOW + 1),
        ]
        found = uploads.find(session, ids[0])
        assert (found is rows[0], uploads.find(session, "upload_x")) == (True, None)


def test_a_row_that_is_removed_twice_is_gone(db: Database) -> None:
    with db.write() as session:
        upload_id = uploads.add(session, 1, None, None, NOW).id
    for _ in range(2):
        with db.write() as session:
            uploads.remove(session, upload_id)
    with db.read() as session:
        assert uploads.everyone(session) == []


def test_a_page_is_of_one_owner_or_of_all_newest_first(db: Database) -> None:
    with db.write() as session:
        ids = [uploads.add(session, 1, None, owner, NOW + at).id for at, owner in enumerate(("a", "b", "a", None))]

    def page(after: str | None, owner: str | None) -> tuple[list[str], bool]:
        with db.read() as session:
            found, more = uploads.page(session, after, 2, owner)
        return [row.id for row in found], more

    assert page(None, None) == ([ids[3], ids[2]], True)
    assert page(ids[2], None) == ([ids[1], ids[0]], False)
    assert page(None, "a") == ([ids[2], ids[0]], False)


def test_of_two_announcements_at_once_the_second_counts_the_first(db: Database) -> None:
    def announce(before_the_end: Callable[[], object]) -> None:
        with db.write() as session:
            uploads.lock(session)
            uploads.require_room(session, 1, None, 1)
            uploads.add(session, 1, None, None, NOW)
            before_the_end()

    with ThreadPoolExecutor(1) as pool:
        second: list[Future[None]] = []

        def start_the_second() -> None:
            second.append(pool.submit(announce, lambda: None))
            wait(second, timeout=0.5)  # it goes as far as it can

        announce(start_the_second)
        with pytest.raises(Overloaded):
            second[0].result(30)
