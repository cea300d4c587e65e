"""core.repositories.job_control: cancel, keep, pause, resume, retry, delete.

Also the order of jobs and a limit to their time.
"""

from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlalchemy import select

from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Checkpoint, Event, Job, JobStatus, Model
from core.errors import ClaimLost, Conflict, Killed, NotFound, WorkerLost
from core.repositories import events, job_control, jobs
from core.repositories.jobs import Claim
from core.settings import Settings
from tests.conftest import EACH_DATABASE, NOW, url_of

Enqueue = Callable[..., Job]
Claimed = Callable[..., Claim]
JobOf = Callable[[str], Job]
Published = Callable[..., Model]


@pytest.fixture(params=EACH_DATABASE)
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


def do(db: Database, verb: Callable[..., object], *given: object) -> Job:
    """Call a verb in a transaction of its own."""
    with db.write() as session:
        found = verb(session, *given)
    assert found is None or isinstance(found, Job)
    return found  # type: ignore[return-value]


def status(job_of: JobOf, job_id: str) -> JobStatus:
    return job_of(job_id).status


# -- order


def test_a_higher_priority_goes_first_and_then_the_older(enqueue: Enqueue, claimed: Claimed, db: Database) -> None:
    low, plain, high = enqueue(at=NOW - 3, priority=-5), enqueue(at=NOW - 2), enqueue(at=NOW - 1, priority=7)
    newest = claimed(priority=7).job_id
    assert newest == high.id
    order = []
    for _ in range(3):
        with db.write() as session:
            order.append(jobs.claim(session, "worker_a", NOW))
    assert [claim and claim.job_id for claim in order][1:] == [plain.id, low.id]


# -- pause and resume


def test_a_waiting_job_is_paused_at_once_and_no_worker_takes_it(db: Database, enqueue: Enqueue) -> None:
    job = enqueue()
    assert do(db, job_control.pause, job.id, NOW).status is JobStatus.PAUSED
    assert do(db, job_control.pause, job.id, NOW).status is JobStatus.PAUSED
    with db.write() as session:
        assert jobs.claim(session, "worker_a", NOW) is None


def test_a_running_job_is_paused_when_its_trainer_has_stopped(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    claim = claimed()
    assert do(db, job_control.pause, claim.job_id, NOW).status is JobStatus.RUNNING
    assert do(db, jobs.heartbeat, claim, NOW).requested_action == "pause"
    do(db, jobs.release, claim, "a pause was requested", NOW + 5)
    job = job_of(claim.job_id)
    assert (job.status, job.worker_id, job.requested_action, job.ran_s) == (JobStatus.PAUSED, None, None, 5)


def test_a_job_that_was_to_pause_is_paused_even_if_its_worker_dies(
    db: Database, claimed: Claimed, job_of: JobOf
) -> None:
    claim = claimed()
    do(db, job_control.pause, claim.job_id, NOW)
    do(db, jobs.retry_or_fail, claim, WorkerLost("gone"), NOW)
    assert status(job_of, claim.job_id) is JobStatus.PAUSED


def test_a_paused_job_waits_again_when_resumed(db: Database, enqueue: Enqueue, claimed: Claimed) -> None:
    job = enqueue(at=NOW - 9)
    do(db, job_control.pause, job.id, NOW)
    assert do(db, job_control.resume, job.id, NOW).status is JobStatus.QUEUED
    assert claimed().job_id == job.id


def test_a_pause_is_taken_back_before_it_took_effect(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    claim = claimed()
    do(db, job_control.pause, claim.job_id, NOW)
    assert do(db, job_control.resume, claim.job_id, NOW).status is JobStatus.RUNNING
    assert do(db, jobs.heartbeat, claim, NOW).requested_action is None


@pytest.mark.parametrize("verb", [job_control.pause, job_control.resume, job_control.cancel])
def test_an_ended_job_can_only_be_looked_at(db: Database, claimed: Claimed, verb: Callable[..., Job]) -> None:
    claim = claimed()
    do(db, jobs.fail, claim, {"code": "internal"}, NOW)
    with pytest.raises(Conflict):
        do(db, verb, claim.job_id, NOW)


@pytest.mark.parametrize("verb", [job_control.pause, job_control.resume, job_control.cancel])
def test_what_is_not_there_is_not_found(db: Database, verb: Callable[..., Job]) -> None:
    with pytest.raises(NotFound):
        do(db, verb, "job_none", NOW)


# -- cancel and keep


def test_a_cancelled_job_that_keeps_what_it_has_ends_as_cancelled_with_its_model(
    db: Database, claimed: Claimed, job_of: JobOf, published: Callable[..., Model]
) -> None:
    model = published()
    claim = claimed()
    assert do(db, job_control.cancel, claim.job_id, NOW, True).status is JobStatus.CANCELLING
    assert do(db, jobs.heartbeat, claim, NOW).requested_action == "keep"
    do(db, jobs.succeed, claim, model.id, NOW + 1)
    job = job_of(claim.job_id)
    assert (job.status, job.model_id, job.finished_at) == (JobStatus.CANCELLED, model.id, NOW + 1)


def test_what_was_to_be_kept_can_still_be_given_up(
    db: Database, claimed: Claimed, job_of: JobOf, published: Callable[..., Model]
) -> None:
    model = published()
    claim = claimed()
    do(db, job_control.cancel, claim.job_id, NOW, True)
    assert do(db, job_control.cancel, claim.job_id, NOW, True).requested_action == "keep"
    assert do(db, job_control.cancel, claim.job_id, NOW).requested_action is None
    # its trainer may have given it up by now
    assert do(db, job_control.cancel, claim.job_id, NOW, True).requested_action is None
    with pytest.raises(ClaimLost):
        do(db, jobs.succeed, claim, model.id, NOW)
    do(db, jobs.release, claim, "stopped", NOW)
    assert (status(job_of, claim.job_id), job_of(claim.job_id).model_id) == (JobStatus.CANCELLED, None)


def test_a_cancelled_job_that_keeps_nothing_publishes_nothing(
    db: Database, claimed: Claimed, job_of: JobOf, published: Callable[..., Model]
) -> None:
    model = published()
    claim = claimed()
    do(db, job_control.cancel, claim.job_id, NOW)
    with pytest.raises(ClaimLost):
        do(db, jobs.succeed, claim, model.id, NOW)
    assert job_of(claim.job_id).model_id is None


def test_a_job_that_does_not_run_has_nothing_to_keep(db: Database, enqueue: Enqueue, job_of: JobOf) -> None:
    job = enqueue()
    with pytest.raises(Conflict, match="while it runs"):
        do(db, job_control.cancel, job.id, NOW, True)
    assert status(job_of, job.id) is JobStatus.QUEUED


# -- retry


def test_a_retry_is_a_new_job_with_the_same_recipe(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    claim = claimed(dataset="digits", epochs=3, priority=4)
    do(db, jobs.fail, claim, {"code": "internal"}, NOW)
    again = do(db, job_control.retry, claim.job_id, NOW + 1, 10)
    old = job_of(claim.job_id)
    assert (old.status, again.status) == (JobStatus.FAILED, JobStatus.QUEUED)
    assert (again.retry_of, again.recipe, again.priority) == (old.id, old.recipe, 4)


@pytest.mark.parametrize("make", ["enqueue", "claimed"])
def test_a_job_that_has_not_ended_is_not_retried(db: Database, make: str, request: pytest.FixtureRequest) -> None:
    made = request.getfixturevalue(make)()
    with pytest.raises(Conflict, match="Only a failed or cancelled job"):
        do(db, job_control.retry, made.id if make == "enqueue" else made.job_id, NOW, 10)


def test_a_succeeded_job_is_not_retried(db: Database, claimed: Claimed, published: Published) -> None:
    claim = claimed()
    do(db, jobs.succeed, claim, published().id, NOW)
    with pytest.raises(Conflict, match="Only a failed or cancelled job can be retried; this one is succeeded"):
        do(db, job_control.retry, claim.job_id, NOW + 1, 10)


# -- a limit to its time


@pytest.mark.parametrize(("measured", "ran_s"), [([], 60), ([45.0], 45)], ids=["by the clock", "measured"])
def test_running_time_adds_up_over_attempts_and_waiting_does_not_count(
    db: Database, claimed: Claimed, job_of: JobOf, measured: list[float], ran_s: float
) -> None:
    claim = claimed(time_limit_s=100)
    do(db, jobs.release, claim, "test", NOW + 60, *measured)
    with db.write() as session:
        again = jobs.claim(session, "worker_a", NOW + 1000)
    assert again is not None
    assert not jobs.is_over_time(job_of(claim.job_id), 100 - ran_s)
    assert jobs.is_over_time(job_of(claim.job_id), 101 - ran_s)


def test_a_job_without_a_limit_is_never_over_time(claimed: Claimed, job_of: JobOf) -> None:
    assert not jobs.is_over_time(job_of(claimed().job_id), 1e9)


# -- delete, and all of it over HTTP


@pytest.fixture
def ended(claimed: Claimed, db: Database, store: LocalStore) -> str:
    """A failed job with a checkpoint and events."""
    claim = claimed()
    store.put(f"jobs/{claim.job_id}/checkpoints/001/1/weights.safetensors", b"w")
    large = 5 * 2**30  # bytes: more than an INTEGER of PostgreSQL holds
    about = {"attempt": 1, "epoch": 1, "step": 4, "key": "k", "metrics": {}, "size_bytes": large, "created_at": NOW}
    with db.write() as session:
        session.add(Checkpoint(id="ckpt_1", job_id=claim.job_id, **about))
        jobs.fail(session, claim, jobs.describe(Killed("test")), NOW)
    return claim.job_id


async def test_a_deleted_job_leaves_nothing(
    ended: str, http: httpx.AsyncClient, db: Database, settings: Settings
) -> None:
    assert (await http.delete(f"/jobs/{ended}")).status_code == 204
    assert (await http.get(f"/jobs/{ended}")).status_code == 404
    assert not (settings.data_dir / "jobs" / ended).exists()
    with db.read() as session:
        assert session.scalars(select(Checkpoint)).all() == []
        assert session.scalars(select(Event)).all() == []


async def test_a_job_that_has_not_ended_is_not_deleted(enqueue: Enqueue, http: httpx.AsyncClient) -> None:
    job = enqueue()
    answer = await http.delete(f"/jobs/{job.id}")
    assert (answer.status_code, answer.json()["detail"]) == (409, "The job is queued: cancel it first.")
    assert (await http.get(f"/jobs/{job.id}")).status_code == 200


async def test_the_calls_answer_with_the_job(enqueue: Enqueue, http: httpx.AsyncClient) -> None:
    job = enqueue()
    said = []
    for verb in ("pause", "resume", "cancel", "retry"):
        answer = await http.post(f"/jobs/{job.id}/{verb}")
        assert answer.status_code == 202
        said.append(answer.json()["status"])
    assert said == ["paused", "queued", "cancelled", "queued"]
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    assert answer.json()["links"]["retry_of"] == f"/jobs/{job.id}"


async def test_a_call_that_the_state_does_not_allow_is_a_conflict(ended: str, http: httpx.AsyncClient) -> None:
    for verb in ("pause", "resume", "cancel"):
        answer = await http.post(f"/jobs/{ended}/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_every_change_of_status_is_in_the_log(db: Database, enqueue: Enqueue) -> None:
    job = enqueue()
    for verb in (job_control.pause, job_control.resume, job_control.cancel):
        do(db, verb, job.id, NOW)
    with db.read() as session:
        logged = [event.data["status"] for event in events.after(session, job.id, 0, 10)]
    assert logged == ["queued", "paused", "queued", "cancelled"]
