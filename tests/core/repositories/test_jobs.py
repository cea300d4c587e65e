"""core.repositories.jobs: the queue, the fence, and what becomes of the lost."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import delete, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db.database import Database
from core.db.tables import ENDED, TRANSITIONS, Job, JobStatus, Model, Worker
from core.errors import ClaimLost, Conflict, InvalidInput, Killed, NotFound, OutOfMemory, Overloaded
from core.recipes.recipe import Recipe
from core.repositories import events, job_control, jobs, models, workers
from core.repositories.jobs import Claim
from core.settings import Settings
from tests.conftest import EACH_DATABASE, NOW, url_of
from tests.support.fakes import model_card

Enqueue = Callable[..., Job]
Published = Callable[..., Model]
Claimed = Callable[..., Claim]
JobOf = Callable[[str], Job]


@pytest.fixture(params=EACH_DATABASE)
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


def statuses(db: Database, job_id: str) -> list[str]:
    with db.read() as session:
        return [e.data["status"] for e in events.after(session, job_id, 0, 100, "status") if "phase" not in e.data]


def test_a_new_job_waits_with_its_whole_recipe(enqueue: Enqueue) -> None:
    job = enqueue(dataset="digits")
    assert job.status is JobStatus.QUEUED
    assert job.recipe["dataset"] == "digits"
    assert job.recipe["network"] == "resnet50"


def test_a_full_queue_refuses_one_more(db: Database, enqueue: Enqueue) -> None:
    enqueue()
    with db.write() as session, pytest.raises(Overloaded):
        jobs.enqueue(session, Recipe(), NOW, queue_limit=1)


def test_of_many_who_ask_at_once_only_as_many_as_have_room_are_admitted(db: Database) -> None:
    ready = threading.Barrier(12)

    def ask(_: int) -> bool:
        ready.wait(30)
        try:
            with db.write() as session:
                jobs.enqueue(session, Recipe(), NOW, queue_limit=5)
        except Overloaded:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(ask, range(12))) == 5


def test_weights_of_a_model_that_is_not_there_are_refused_by_name(enqueue: Enqueue) -> None:
    with pytest.raises(InvalidInput, match="model_gone") as refusal:
        enqueue(weights="model_gone")
    assert refusal.value.pointer == "/weights"


def test_a_reference_to_weights_is_resolved_when_the_job_is_made(enqueue: Enqueue, published: Published) -> None:
    first = published(network="resnet18", accuracy=0.9)
    published(network="resnet18", accuracy=0.8)
    job = enqueue(network="resnet18", weights="digits@best")
    assert job.recipe["weights"] == first.id
    with pytest.raises(InvalidInput, match="no model cats@best"):
        enqueue(network="resnet18", weights="cats@best")


def test_a_rerun_has_the_models_recipe_but_for_the_given_fields(db: Database, published: Published) -> None:
    before = {"dataset": "digits", "network": "resnet18", "freeze": "until:layer1"}
    published(name="pets", recipe=before | {"publish": "always", "image_fit": None})  # a digit's: nothing to decide

    def recipe(**given: object) -> Recipe:
        with db.read() as session:
            return models.rerun_of(session, Recipe.model_validate({"rerun": "pets", **given}))

    again, changed = recipe(), recipe(model="other", seed=3)
    assert (again.dataset, again.network, again.model_name, again.rerun) == ("digits", "resnet18", "pets", "model_1")
    assert (changed.network, changed.model_name, changed.seed) == ("resnet18", "other", 3)
    for given, pointer in (({"rerun": "pets/2"}, "/rerun"), ({"network": "mobilenet_v2"}, "/freeze")):
        with pytest.raises(InvalidInput) as refusal:
            recipe(**given)
        assert refusal.value.pointer == pointer


def test_the_oldest_job_is_claimed_first(db: Database, enqueue: Enqueue, claimed: Claimed) -> None:
    older = enqueue(at=NOW - 10)
    enqueue(at=NOW - 5)
    assert claimed().job_id == older.id


def test_nothing_to_claim_is_none(db: Database, claimed: Claimed) -> None:
    claimed()
    with db.write() as session:
        assert jobs.claim(session, "worker_a", NOW) is None


def test_two_workers_never_claim_the_same_job(db: Database, enqueue: Enqueue) -> None:
    wanted = {enqueue().id for _ in range(20)}
    with db.write() as session:
        for name in "abcd":
            workers.register(session, Worker(id=name, host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
    taken: list[str] = []

    def claim_all(worker: str) -> None:
        for _ in range(2 * len(wanted)):  # no more than that, if what is claimed is not kept
            with db.write() as session:
                claim = jobs.claim(session, worker, NOW)
            if claim is None:
                return
            taken.append(claim.job_id)

    threads = [threading.Thread(target=claim_all, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(wanted)


def test_a_heartbeat_tells_a_cancelled_job_to_stop(db: Database, claimed: Claimed) -> None:
    claim = claimed()
    with db.write() as session:
        assert jobs.heartbeat(session, claim, NOW + 1).status is JobStatus.RUNNING
        job_control.cancel(session, claim.job_id, NOW + 2)
        assert jobs.heartbeat(session, claim, NOW + 3).status is JobStatus.CANCELLING


def test_a_late_attempt_can_write_nothing(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    late = claimed()
    with db.write() as session:
        jobs.release(session, late, "test", NOW)
        assert jobs.claim(session, "worker_a", NOW) == Claim(late.job_id, late.attempt + 1)
    for write in (
        lambda s: jobs.heartbeat(s, late, NOW),
        lambda s: jobs.record(s, late, progress={"epoch": 9}),
        lambda s: jobs.succeed(s, late, "model_late", NOW),
        lambda s: jobs.fail(s, late, {"code": "internal"}, NOW),
        lambda s: jobs.release(s, late, "late", NOW),
        lambda s: events.append(s, late.job_id, "log", {}, NOW, late.attempt),
    ):
        with pytest.raises(ClaimLost), db.write() as session:
            write(session)
    assert job_of(late.job_id).status is JobStatus.RUNNING
    assert job_of(late.job_id).progress == {}


def test_a_late_attempt_cannot_end_a_job_that_waits_again(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    late = claimed()
    with db.write() as session:
        jobs.release(session, late, "test", NOW)
    with pytest.raises(ClaimLost), db.write() as session:
        jobs.fail(session, late, {"code": "internal"}, NOW)
    assert job_of(late.job_id).status is JobStatus.QUEUED


TRAINING = [
    {"phase": "starting", "started_at": NOW, "ended_at": NOW + 1, "message": ""},
    {"phase": "training", "started_at": NOW + 1, "ended_at": None, "message": "resnet18"},
]


def ended(session: Session, claim: Claim) -> None:
    jobs.fail(session, claim, {"code": "killed"}, NOW + 9)


def cancelled(session: Session, claim: Claim) -> None:
    job_control.cancel(session, claim.job_id, NOW + 2)
    jobs.cancelled(session, claim, NOW + 9)


def released(session: Session, claim: Claim) -> None:
    jobs.release(session, claim, "test", NOW + 9)


def paused(session: Session, claim: Claim) -> None:
    job_control.pause(session, claim.job_id, NOW + 2)
    jobs.release(session, claim, "test", NOW + 9)


@pytest.mark.parametrize(
    ("leave", "phase", "total_s"),
    [(ended, "training", 9), (cancelled, "training", 9), (released, None, None), (paused, None, None)],
)
def test_when_an_attempt_is_over_nothing_of_it_seems_to_go_on(
    db: Database,
    claimed: Claimed,
    job_of: JobOf,
    leave: Callable[[Session, Claim], None],
    phase: str | None,
    total_s: float | None,
) -> None:
    claim = claimed()
    with db.write() as session:
        jobs.record(session, claim, phase="training", phases=TRAINING, estimated_finish=NOW + 60, timing={"train_s": 5})
    with db.write() as session:
        leave(session, claim)
    job = job_of(claim.job_id)
    assert (job.phase, job.estimated_finish) == (phase, None)
    assert [entry["ended_at"] for entry in job.phases] == [NOW + 1, NOW + 9]
    assert (job.timing["train_s"], job.timing.get("total_s")) == (5, total_s)


def test_a_job_that_ends_while_it_waits_has_no_time_in_all(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    claim = claimed()
    with db.write() as session:
        jobs.release(session, claim, "test", NOW + 9)
        job_control.cancel(session, claim.job_id, NOW + 99)
    assert job_of(claim.job_id).timing == {}


def test_a_waiting_job_is_cancelled_at_once(db: Database, enqueue: Enqueue) -> None:
    job = enqueue()
    with db.write() as session:
        assert job_control.cancel(session, job.id, NOW).status is JobStatus.CANCELLED
    assert statuses(db, job.id) == ["queued", "cancelled"]


def test_cancelling_twice_changes_nothing(db: Database, claimed: Claimed) -> None:
    claim = claimed()
    for _ in range(2):
        with db.write() as session:
            assert job_control.cancel(session, claim.job_id, NOW).status is JobStatus.CANCELLING
    assert statuses(db, claim.job_id) == ["queued", "running", "cancelling"]


def test_an_ended_job_cannot_be_cancelled(db: Database, enqueue: Enqueue) -> None:
    job = enqueue()
    with db.write() as session:
        job_control.cancel(session, job.id, NOW)
        with pytest.raises(Conflict, match="cancelled"):
            job_control.cancel(session, job.id, NOW)


def test_a_failure_while_cancelling_counts_as_cancelled(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    claim = claimed()
    with db.write() as session:
        job_control.cancel(session, claim.job_id, NOW)
        jobs.fail(session, claim, {"code": "internal"}, NOW)
    assert job_of(claim.job_id).status is JobStatus.CANCELLED


def test_a_dead_attempt_is_tried_again_until_none_is_left(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    claim: Claim | None = claimed(max_attempts=2)
    assert claim is not None
    with db.write() as session:
        jobs.retry_or_fail(session, claim, Killed("by SIGKILL"), NOW)
    assert job_of(claim.job_id).status is JobStatus.QUEUED
    with db.write() as session:
        again = jobs.claim(session, "worker_a", NOW)
        assert again is not None
        jobs.retry_or_fail(session, again, Killed("by SIGKILL"), NOW)
    job = job_of(claim.job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error["code"] == "killed"
    assert job.error["hint"]


def test_handing_a_job_back_uses_up_no_attempt(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    claim: Claim | None = claimed(max_attempts=1)
    for _ in range(3):
        assert claim is not None
        with db.write() as session:
            jobs.release(session, claim, "the worker was told to stop", NOW)
            claim = jobs.claim(session, "worker_a", NOW)
    assert claim is not None
    assert job_of(claim.job_id).failures == 0


def test_the_job_of_a_silent_worker_goes_back_to_the_queue(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    claim = claimed()
    with db.write() as session:
        assert jobs.requeue_lost(session, NOW + 9, lease_s=10) == []
        assert jobs.requeue_lost(session, NOW + 11, lease_s=10) == [claim.job_id]
    assert job_of(claim.job_id).status is JobStatus.QUEUED


def test_of_several_who_look_at_once_each_lost_job_is_found_by_one(
    db: Database, claimed: Claimed, job_of: JobOf
) -> None:
    lost = {claimed().job_id for _ in range(20)}
    found: list[str] = []
    failures: list[Exception] = []
    together = threading.Barrier(3)

    def look() -> None:
        together.wait()
        try:
            with db.write() as session:
                found.extend(jobs.requeue_lost(session, NOW + 11, lease_s=10))
        except ClaimLost as error:
            failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(found) == sorted(lost)
    assert {job_of(job_id).status for job_id in lost} == {JobStatus.QUEUED}


def test_the_reason_of_a_lost_worker_carries_its_last_sign_of_life(
    db: Database, claimed: Claimed, job_of: JobOf
) -> None:
    claim = claimed(max_attempts=1)
    with db.write() as session:
        jobs.requeue_lost(session, NOW + 60, lease_s=10)
    error = job_of(claim.job_id).error
    assert error is not None
    assert error["code"] == "worker_lost"
    assert "60.0 s ago" in error["message"]


def test_a_lost_cancelling_job_ends_as_cancelled(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    claim = claimed()
    with db.write() as session:
        job_control.cancel(session, claim.job_id, NOW)
        jobs.requeue_lost(session, NOW + 60, lease_s=10)
    assert job_of(claim.job_id).status is JobStatus.CANCELLED


def test_a_worker_that_left_counts_no_longer_as_alive(db: Database, claimed: Claimed) -> None:
    claimed()
    with db.write() as session:
        assert workers.count_live(session, NOW, lease_s=10) == 1
        workers.unregister(session, "worker_a")
        assert workers.count_live(session, NOW, lease_s=10) == 0


def test_pages_are_newest_first_and_meet_without_overlap(db: Database, enqueue: Enqueue) -> None:
    made = [enqueue(at=NOW + second).id for second in range(5)]
    with db.read() as session:
        first, more = jobs.page(session, None, None, None, limit=3)
        rest, last = jobs.page(session, None, None, first[-1].id, limit=3)
    assert [job.id for job in first + rest] == made[::-1]
    assert (more, last) == (True, False)


def test_pages_can_be_filtered(db: Database, enqueue: Enqueue, claimed: Claimed) -> None:
    running = claimed(dataset="digits").job_id
    enqueue(dataset="mnist")
    with db.read() as session:
        assert [job.id for job in jobs.page(session, JobStatus.RUNNING, None, None, 9)[0]] == [running]
        assert [job.id for job in jobs.page(session, None, "digits", None, 9)[0]] == [running]


def test_a_job_that_is_not_there_is_not_found(db: Database) -> None:
    with db.read() as session, pytest.raises(NotFound, match="job_x"):
        jobs.get(session, "job_x")


@pytest.mark.parametrize(("field", "value"), [("status", "done"), ("status", "failed"), ("phase", "resting")])
def test_the_schema_refuses_a_row_that_lies(db: Database, enqueue: Enqueue, field: str, value: str) -> None:
    job = enqueue()
    with pytest.raises(IntegrityError), db.write() as session:
        session.execute(text(f"UPDATE jobs SET {field} = :value WHERE id = :id"), {"value": value, "id": job.id})


def test_attempts_without_memory_are_counted_from_the_given_one_on(db: Database, claimed: Claimed) -> None:
    claim, other = claimed(max_attempts=9), claimed(worker="worker_b", max_attempts=9)
    for failure in (OutOfMemory("none left"), Killed("by SIGKILL"), OutOfMemory("none left")):
        with db.write() as session:
            jobs.retry_or_fail(session, claim, failure, NOW)
            again = jobs.claim(session, "worker_a", NOW)
        assert again is not None
        claim = again
    with db.read() as session:
        counts = [jobs.count_out_of_memory(session, claim.job_id, since) for since in (0, 1, 2, 3, 4)]
        assert counts == [2, 2, 1, 1, 0]
        assert jobs.count_out_of_memory(session, other.job_id, 0) == 0


def test_every_status_has_its_transitions_and_ended_ones_have_none() -> None:
    assert set(TRANSITIONS) == set(JobStatus)
    assert {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED} == ENDED


def test_the_schema_itself_holds_every_way_through_the_states(db: Database, enqueue: Enqueue) -> None:
    job = enqueue()
    about = {"worker_id": "worker_a", "model_id": "model_1", "error": {"code": "internal"}}  # as the states need it
    with db.write() as session:
        workers.register(session, Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
        models.publish(session, "model_1", job.id, "models/model_1", model_card(), NOW)

    def goes(before: JobStatus, after: JobStatus) -> bool:
        with db.write() as session:
            session.execute(delete(Job))
            session.add(Job(id="job_1", status=before, recipe={}, created_at=NOW, **about))
        with suppress(IntegrityError), db.write() as session:
            session.execute(text("UPDATE jobs SET status = :after"), {"after": str(after)})
        with db.read() as session:
            status = session.get_one(Job, "job_1").status
        assert status in (before, after)
        return status is after

    pairs = list(itertools.permutations(JobStatus, 2))
    assert {pair for pair in pairs if goes(*pair)} == {pair for pair in pairs if pair[1] in TRANSITIONS[pair[0]]}
