"""core.repositories.uploads: whose an upload is, and how long."""

from collections.abc import Iterator

import pytest

from core.db.database import Database
from core.repositories import uploads
from core.settings import Settings
from tests.conftest import EACH_DATABASE, NOW, url_of


@pytest.fixture(params=EACH_DATABASE)
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


def test_a_row_says_whose_an_upload_is_and_how_long(db: Database) -> None:
    with db.write() as session:
        ids = [uploads.add(session, 10**17, owner, NOW + at).id for at, owner in enumerate(("key_a", None))]
    with db.read() as session:
        rows = uploads.everyone(session)
        assert [(row.id, row.owner, row.length, row.created_at) for row in rows] == [
            (ids[0], "key_a", 10**17, NOW),
            (ids[1], None, 10**17, NOW + 1),
        ]
        found = uploads.find(session, ids[0])
        assert (found is rows[0], uploads.find(session, "upload_x"), uploads.count(session)) == (True, None, 2)


def test_a_row_that_is_removed_twice_is_gone(db: Database) -> None:
    with db.write() as session:
        upload_id = uploads.add(session, 1, None, NOW).id
    for _ in range(2):
        with db.write() as session:
            uploads.remove(session, upload_id)
    with db.read() as session:
        assert uploads.everyone(session) == []
