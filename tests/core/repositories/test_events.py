"""core.repositories.events: the durable log of each job."""

import threading
from collections.abc import Callable, Iterator

import pytest

from core.db.database import Database
from core.db.tables import Job
from core.errors import ClaimLost, NotFound
from core.repositories import events, jobs
from core.repositories.jobs import Claim
from core.settings import Settings
from tests.conftest import EACH_DATABASE, NOW, url_of

Enqueue = Callable[..., Job]
Claimed = Callable[..., Claim]


@pytest.fixture(params=EACH_DATABASE)
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


def numbers(db: Database, job_id: str) -> list[int]:
    with db.read() as session:
        return [event.number for event in events.after(session, job_id, 0, 1000)]


def test_numbers_count_up_in_each_job_by_itself(db: Database, enqueue: Enqueue) -> None:
    first, second = enqueue(), enqueue()
    with db.write() as session:
        assert [events.append(session, first.id, "log", {}, NOW) for _ in range(3)] == [2, 3, 4]
        assert events.append(session, second.id, "log", {}, NOW) == 2
    assert numbers(db, first.id) == [1, 2, 3, 4]


def test_several_writers_leave_no_gap(db: Database, enqueue: Enqueue) -> None:
    job = enqueue()

    def write() -> None:
        for _ in range(15):
            with db.write() as session:
                events.append(session, job.id, "log", {}, NOW)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(db, job.id) == list(range(1, 62))


def test_a_number_that_was_rolled_back_is_given_again(db: Database, enqueue: Enqueue) -> None:
    job = enqueue()

    def append_and_fail() -> None:
        with db.write() as session:
            events.append(session, job.id, "log", {}, NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        append_and_fail()
    with db.write() as session:
        assert events.append(session, job.id, "log", {}, NOW) == 2


def test_an_event_of_no_job_is_refused(db: Database) -> None:
    with db.write() as session, pytest.raises(NotFound, match="job_x"):
        events.append(session, "job_x", "log", {}, NOW)


def test_the_owner_may_write_and_an_earlier_attempt_may_not(db: Database, claimed: Claimed) -> None:
    claim = claimed()
    with db.write() as session:
        assert events.append(session, claim.job_id, "log", {}, NOW, claim.attempt) == 3
        with pytest.raises(ClaimLost):
            events.append(session, claim.job_id, "log", {}, NOW, claim.attempt - 1)
    assert numbers(db, claim.job_id) == [1, 2, 3]


def test_the_owner_of_an_ended_job_may_not_write(db: Database, claimed: Claimed) -> None:
    claim = claimed()
    with db.write() as session:
        jobs.fail(session, claim, {"code": "internal"}, NOW)
        with pytest.raises(ClaimLost):
            events.append(session, claim.job_id, "log", {}, NOW, claim.attempt)


def test_events_are_read_from_any_number_on_and_by_kind(db: Database, enqueue: Enqueue) -> None:
    job = enqueue()
    with db.write() as session:
        for epoch in range(1, 5):
            events.append(session, job.id, "metrics", {"epoch": epoch}, NOW + epoch)
            events.append(session, job.id, "log", {}, NOW + epoch)
    with db.read() as session:
        assert [event.number for event in events.after(session, job.id, 6, 2)] == [7, 8]
        metrics = events.after(session, job.id, 3, 100, "metrics")
    assert [(event.data["epoch"], event.at) for event in metrics] == [(2, NOW + 2), (3, NOW + 3), (4, NOW + 4)]
