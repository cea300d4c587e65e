"""core.repositories.batch_predictions: the queue of batches, the fence, lost workers."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from sqlalchemy import delete, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db.database import Database
from core.db.tables import Batch, BatchStatus, Worker
from core.errors import ClaimLost, Conflict, Killed, NotFound, Overloaded
from core.repositories import batch_predictions, workers
from core.repositories.batch_predictions import ENDED, TRANSITIONS, Claim
from core.settings import Settings
from tests.conftest import EACH_DATABASE, NOW, url_of
from tests.support.batchfiles import OPTIONS

Enqueue = Callable[..., Batch]
Claimed = Callable[[], Claim]
BatchOf = Callable[[str], Batch]


@pytest.fixture(params=EACH_DATABASE)
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


@pytest.fixture
def add(db: Database) -> Enqueue:
    """A batch of ten images that waits since ``at``."""
    numbers = itertools.count(1)

    def make(at: float = NOW) -> Batch:
        with db.write() as session:
            return batch_predictions.enqueue(session, f"batch_{next(numbers)}", OPTIONS, 10, at, queue_limit=100)

    return make


@pytest.fixture
def claimed(db: Database, add: Enqueue) -> Claimed:
    """A batch that runs, of a worker that is alive at NOW."""

    def make() -> Claim:
        add()
        return claim(db)

    with db.write() as session:
        workers.register(session, Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
    return make


@pytest.fixture
def batch_of(db: Database) -> BatchOf:
    def get(batch_id: str) -> Batch:
        with db.read() as session:
            return batch_predictions.get(session, batch_id)

    return get


def claim(db: Database) -> Claim:
    with db.write() as session:
        taken = batch_predictions.claim(session, "worker_a", NOW)
    assert taken is not None
    return taken


def die(db: Database, of: Claim) -> None:
    with db.write() as session:
        batch_predictions.retry_or_fail(session, of, Killed("by SIGKILL"), NOW)


def test_a_full_queue_refuses_one_more(db: Database, add: Enqueue) -> None:
    add()
    with db.write() as session, pytest.raises(Overloaded):
        batch_predictions.enqueue(session, "batch_x", OPTIONS, 1, NOW, queue_limit=1)


def test_the_oldest_batch_is_claimed_first_and_once(db: Database, claimed: Claimed, add: Enqueue) -> None:
    claimed()
    newer, older = add(at=NOW - 5), add(at=NOW - 10)
    assert [claim(db).batch_id, claim(db).batch_id] == [older.id, newer.id]
    with db.write() as session:
        assert batch_predictions.claim(session, "worker_a", NOW) is None


@pytest.mark.usefixtures("claimed")
def test_two_workers_never_claim_the_same_batch(db: Database, add: Enqueue) -> None:
    wanted = {add().id for _ in range(20)}
    taken: list[str] = []

    def claim_all() -> None:
        for _ in range(2 * len(wanted)):  # no more than that, if what is claimed is not kept
            with db.write() as session:
                found = batch_predictions.claim(session, "worker_a", NOW)
            if found is None:
                return
            taken.append(found.batch_id)

    threads = [threading.Thread(target=claim_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(wanted)


def test_what_is_recorded_stands_in_the_row(db: Database, claimed: Claimed, batch_of: BatchOf) -> None:
    ours = claimed()
    with db.write() as session:
        batch_predictions.record(session, ours, NOW + 3, done=7, errors=2)
    batch = batch_of(ours.batch_id)
    assert (batch.done, batch.errors, batch.heartbeat_at, batch.total) == (7, 2, NOW + 3, 10)


def test_a_late_attempt_can_write_nothing(db: Database, claimed: Claimed, batch_of: BatchOf) -> None:
    late = claimed()
    with db.write() as session:
        batch_predictions.release(session, late)
    assert claim(db) == Claim(late.batch_id, late.attempt + 1)
    writes: tuple[Callable[[Session], None], ...] = (
        lambda s: batch_predictions.record(s, late, NOW, done=9),
        lambda s: batch_predictions.succeed(s, late, NOW),
        lambda s: batch_predictions.release(s, late),
        lambda s: batch_predictions.retry_or_fail(s, late, Killed("late"), NOW),
    )
    for write in writes:
        with pytest.raises(ClaimLost), db.write() as session:
            write(session)
    batch = batch_of(late.batch_id)
    assert (batch.status, batch.done, batch.error) == (BatchStatus.RUNNING, 0, None)


def test_a_late_attempt_cannot_end_a_batch_that_waits_again(db: Database, claimed: Claimed, batch_of: BatchOf) -> None:
    late = claimed()
    with db.write() as session:
        batch_predictions.release(session, late)
    with pytest.raises(ClaimLost), db.write() as session:
        batch_predictions.succeed(session, late, NOW)
    assert batch_of(late.batch_id).status is BatchStatus.QUEUED


def test_the_fourth_death_is_the_end_and_says_why(db: Database, claimed: Claimed, batch_of: BatchOf) -> None:
    ours = claimed()
    for _ in range(batch_predictions.MAX_FAILED_ATTEMPTS - 1):
        die(db, ours)
        assert batch_of(ours.batch_id).status is BatchStatus.QUEUED
        ours = claim(db)
    die(db, ours)
    batch = batch_of(ours.batch_id)
    assert (batch.status, batch.finished_at) == (BatchStatus.FAILED, NOW)
    assert batch.error is not None
    assert (batch.error["code"], batch.error["message"]) == ("killed", "by SIGKILL")


def test_a_result_between_two_deaths_makes_them_no_row_but_there_are_twenty_at_most(
    db: Database, claimed: Claimed, batch_of: BatchOf
) -> None:
    ours = claimed()
    for done in range(1, batch_predictions.MAX_DEATHS):
        with db.write() as session:
            batch_predictions.record(session, ours, NOW, done=done)
        die(db, ours)
        assert batch_of(ours.batch_id).status is BatchStatus.QUEUED
        ours = claim(db)
    die(db, ours)
    assert batch_of(ours.batch_id).status is BatchStatus.FAILED


@pytest.mark.parametrize(
    ("first", "second", "deadly"), [(None, None, False), (None, 0, False), (0, None, False), (0, 0, True)]
)
def test_an_image_is_deadly_once_two_attempts_that_read_it_alone_have_died(
    db: Database, claimed: Claimed, batch_of: BatchOf, first: int | None, second: int | None, deadly: bool
) -> None:
    ours = claimed()
    for index in (first, second):
        assert not batch_predictions.is_deadly(batch_of(ours.batch_id))
        if index is not None:
            with db.write() as session:
                batch_predictions.record(session, ours, NOW, reading=index)
        die(db, ours)
        ours = claim(db)
    assert batch_predictions.is_deadly(batch_of(ours.batch_id)) is deadly


def test_a_batch_handed_back_while_an_image_was_read_alone_says_nothing_of_the_image(
    db: Database, claimed: Claimed, batch_of: BatchOf
) -> None:
    ours = claimed()
    for _ in range(batch_predictions.ALONE):
        with db.write() as session:
            batch_predictions.record(session, ours, NOW, reading=0)
            batch_predictions.release(session, ours)
        ours = claim(db)
    die(db, ours)
    assert not batch_predictions.is_deadly(batch_of(ours.batch_id))


def test_handing_a_batch_back_is_no_death(db: Database, claimed: Claimed, batch_of: BatchOf) -> None:
    ours = claimed()
    for _ in range(5):
        with db.write() as session:
            batch_predictions.release(session, ours)
        ours = claim(db)
    die(db, ours)
    assert batch_of(ours.batch_id).status is BatchStatus.QUEUED


def test_success_forgets_the_deaths_before(db: Database, claimed: Claimed, batch_of: BatchOf) -> None:
    die(db, claimed())
    ours = claim(db)
    with db.write() as session:
        batch_predictions.succeed(session, ours, NOW + 9)
    batch = batch_of(ours.batch_id)
    assert (batch.status, batch.error, batch.finished_at) == (BatchStatus.SUCCEEDED, None, NOW + 9)


def test_the_batch_of_a_silent_worker_goes_back_to_the_queue(db: Database, claimed: Claimed, batch_of: BatchOf) -> None:
    ours = claimed()
    with db.write() as session:
        assert batch_predictions.requeue_lost(session, NOW + 9, lease_s=10) == []
        assert batch_predictions.requeue_lost(session, NOW + 11, lease_s=10) == [ours.batch_id]
    batch = batch_of(ours.batch_id)
    assert batch.status is BatchStatus.QUEUED
    assert batch.error is not None
    assert batch.error["code"] == "worker_lost"


@pytest.mark.parametrize("running", [False, True])
def test_a_batch_is_cancelled_at_once(
    db: Database, add: Enqueue, claimed: Claimed, batch_of: BatchOf, running: bool
) -> None:
    batch_id = claimed().batch_id if running else add().id
    with db.write() as session:
        assert batch_predictions.cancel(session, batch_id, NOW + 1).status is BatchStatus.CANCELLED
    assert batch_of(batch_id).finished_at == NOW + 1


def test_the_process_of_a_cancelled_batch_is_refused(db: Database, claimed: Claimed) -> None:
    ours = claimed()
    with db.write() as session:
        batch_predictions.cancel(session, ours.batch_id, NOW)
    with pytest.raises(ClaimLost), db.write() as session:
        batch_predictions.record(session, ours, NOW)


def test_an_ended_batch_cannot_be_cancelled(db: Database, add: Enqueue) -> None:
    batch = add()
    with db.write() as session:
        batch_predictions.cancel(session, batch.id, NOW)
        with pytest.raises(Conflict, match="cancelled"):
            batch_predictions.cancel(session, batch.id, NOW)


def test_only_an_ended_batch_is_deleted_and_its_files_are_said_to_be_gone_first(
    db: Database, add: Enqueue, batch_of: BatchOf
) -> None:
    batch = add()
    with db.write() as session, pytest.raises(Conflict, match="cancel"):
        batch_predictions.delete_files(session, batch.id, NOW)
    with db.write() as session:
        batch_predictions.cancel(session, batch.id, NOW)
        batch_predictions.delete_files(session, batch.id, NOW)
    assert batch_of(batch.id).files_deleted_at == NOW
    with db.write() as session:
        batch_predictions.delete(session, batch.id)
    with pytest.raises(NotFound, match=batch.id):
        batch_of(batch.id)


def test_what_ended_long_ago_expires_and_nothing_else(db: Database, add: Enqueue, batch_of: BatchOf) -> None:
    ended = [add(NOW).id for _ in range(3)]
    waiting = add(NOW - 1000)
    with db.write() as session:
        for batch_id, at in zip(ended, (NOW, NOW + 10, NOW + 20), strict=True):
            batch_predictions.cancel(session, batch_id, at)
        batch_predictions.delete_files(session, ended[2], NOW + 21)  # and then the service was killed

    def expired(before: float) -> list[str]:
        with db.write() as session:
            return [batch.id for batch in batch_predictions.expire(session, before, NOW + 30)]

    assert expired(NOW) == [ended[2]]
    assert expired(NOW + 10) == [ended[0], ended[2]]
    assert [batch_of(batch_id).files_deleted_at for batch_id in ended] == [NOW + 30, None, NOW + 21]
    for _ in range(2):
        with db.write() as session:
            for batch_id in (*ended, waiting.id):
                batch_predictions.delete(session, batch_id)
    with db.read() as session:
        left, _ = batch_predictions.page(session, None, None, 10)
    assert {batch.id for batch in left} == {ended[1], waiting.id}


def test_pages_are_newest_first_and_meet_without_overlap(db: Database, add: Enqueue) -> None:
    made = [add(at=NOW + second).id for second in range(5)]
    with db.read() as session:
        first, more = batch_predictions.page(session, None, None, limit=3)
        rest, last = batch_predictions.page(session, BatchStatus.QUEUED, first[-1].id, limit=3)
        none, _ = batch_predictions.page(session, BatchStatus.FAILED, None, limit=3)
    assert [batch.id for batch in (*first, *rest)] == made[::-1]
    assert (more, last, list(none)) == (True, False, [])


@pytest.mark.parametrize("value", ["done", "failed"])
def test_the_schema_refuses_a_row_that_lies(db: Database, add: Enqueue, value: str) -> None:
    batch = add()
    with pytest.raises(IntegrityError), db.write() as session:
        session.execute(text("UPDATE batches SET status = :value WHERE id = :id"), {"value": value, "id": batch.id})


def test_every_status_has_its_transitions_and_ended_ones_have_none() -> None:
    assert set(TRANSITIONS) == set(BatchStatus)
    assert {BatchStatus.SUCCEEDED, BatchStatus.FAILED, BatchStatus.CANCELLED} == ENDED


def test_the_schema_itself_holds_every_way_through_the_states(db: Database) -> None:
    about = {"key": "batches/batch_1", "options": OPTIONS, "created_at": NOW, "error": {"code": "internal"}}

    def goes(before: BatchStatus, after: BatchStatus) -> bool:
        with db.write() as session:
            session.execute(delete(Batch))
            session.add(Batch(id="batch_1", status=before, **about))
        with suppress(IntegrityError), db.write() as session:
            session.execute(text("UPDATE batches SET status = :after"), {"after": str(after)})
        with db.read() as session:
            status = session.get_one(Batch, "batch_1").status
        assert status in (before, after)
        return status is after

    pairs = list(itertools.permutations(BatchStatus, 2))
    assert {pair for pair in pairs if goes(*pair)} == {pair for pair in pairs if pair[1] in TRANSITIONS[pair[0]]}
