"""core.checkups.queue: one check-up a data set, the fence, lost workers."""

from collections.abc import Iterator
from typing import Any

import pytest

from core.checkups import queue
from core.checkups.queue import MAX_DEATHS, Claim
from core.db.database import Database
from core.db.tables import Checkup, Worker
from core.errors import ClaimLost, Killed
from core.repositories import datasets, workers
from core.settings import Settings
from tests.conftest import EACH_DATABASE, NOW, url_of

FOUND: dict[str, Any] = {"wrong_label_count": 0}


@pytest.fixture(params=EACH_DATABASE)
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


@pytest.fixture(autouse=True)
def _pets(db: Database) -> None:
    """Two names of data sets, and a worker that is alive at NOW."""
    with db.write() as session:
        for name in ("pets", "toys"):
            datasets.lock(session, name)
        workers.register(session, Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=NOW))


def ask(db: Database, version: int = 1, name: str = "pets", at: float = NOW) -> None:
    with db.write() as session:
        queue.request(session, name, version, at)


def claim(db: Database) -> Claim | None:
    with db.write() as session:
        return queue.claim(session, "worker_a", NOW)


def claimed(db: Database) -> Claim:
    found = claim(db)
    assert found is not None
    return found


def state(db: Database) -> tuple[str, int]:
    row = row_of(db)
    return row.status.value, row.version


def row_of(db: Database) -> Checkup:
    with db.read() as session:
        row = queue.find(session, "pets")
    assert row is not None
    return row


def test_a_check_up_is_claimed_once_and_those_that_wait_longest_first(db: Database) -> None:
    ask(db, at=NOW + 1)
    ask(db, name="toys")
    assert [claim(db), claim(db), claim(db)] == [Claim("toys", 1, 1), Claim("pets", 1, 1), None]
    ask(db)  # once more: it runs
    assert (claim(db), state(db)) == (None, ("running", 1))


def test_what_was_found_is_kept_until_it_is_asked_for_again(db: Database) -> None:
    ask(db)
    mine = claimed(db)
    with db.write() as session:
        queue.succeed(session, mine, FOUND, NOW)
    assert (row_of(db).findings, row_of(db).finished_at, claim(db)) == (FOUND, NOW, None)
    ask(db)
    assert (row_of(db).findings, claim(db)) == (None, Claim("pets", 1, 2))


def test_another_version_takes_the_check_up_from_the_process_of_the_first(db: Database) -> None:
    ask(db)
    old = claimed(db)
    ask(db, version=2)
    with pytest.raises(ClaimLost), db.write() as session:
        queue.record(session, old, NOW, images=5)
    new = claimed(db)
    for late in (queue.release, lambda session, one: queue.succeed(session, one, FOUND, NOW)):
        with pytest.raises(ClaimLost), db.write() as session:
            late(session, old)
    assert (new, state(db), row_of(db).images) == (Claim("pets", 2, 2), ("running", 2), 0)


def test_a_forgotten_check_up_takes_no_findings(db: Database) -> None:
    ask(db)
    mine = claimed(db)
    with db.write() as session:
        queue.forget(session, "pets")
    with pytest.raises(ClaimLost), db.write() as session:
        queue.succeed(session, mine, FOUND, NOW)


def test_one_that_was_given_back_waits_and_may_be_given_back_for_ever(db: Database) -> None:
    ask(db)
    for attempt in range(1, MAX_DEATHS + 3):
        mine = claimed(db)
        assert mine.attempt == attempt
        with db.write() as session:
            queue.release(session, mine)
    assert state(db) == ("waiting", 1)


def test_after_three_deaths_it_has_failed_and_says_why(db: Database) -> None:
    ask(db)
    for _ in range(MAX_DEATHS):
        mine = claimed(db)
        with db.write() as session:
            queue.retry_or_fail(session, mine, Killed("It was killed.", "See the log."), NOW)
    assert (state(db), row_of(db).error, claim(db)) == (("failed", 1), "It was killed. See the log.", None)
    ask(db)
    assert (state(db), row_of(db).error, row_of(db).deaths) == (("waiting", 1), None, 0)


def test_one_of_a_lost_worker_waits_again_and_one_of_a_live_worker_goes_on(db: Database) -> None:
    ask(db)
    mine = claimed(db)
    with db.write() as session:
        assert queue.requeue_lost(session, NOW + 9, 10) == []
    assert state(db) == ("running", 1)
    with db.write() as session:
        assert queue.requeue_lost(session, NOW + 11, 10) == ["the check-up of pets"]
    with pytest.raises(ClaimLost), db.write() as session:
        queue.record(session, mine, NOW)
    assert (state(db), row_of(db).deaths) == (("waiting", 1), 1)


def test_a_worker_that_was_not_heard_takes_up_what_it_holds(db: Database) -> None:
    ask(db)
    claimed(db)
    with db.write() as session:
        assert queue.release_unwatched(session, "worker_b") == []
    assert state(db) == ("running", 1)
    with db.write() as session:
        assert queue.release_unwatched(session, "worker_a") == ["the check-up of pets"]
    assert (state(db), row_of(db).worker_id) == (("waiting", 1), None)
