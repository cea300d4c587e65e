"""worker.supervisor.loop: a job's fate, whatever becomes of its trainer.

No trainer is started here.
"""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import core.db.database
import worker.supervisor.loop
from core.db.database import Database
from core.db.tables import OWNED, Job, JobStatus, Worker
from core.errors import DatasetInvalid
from core.repositories import events, job_control, jobs, workers
from core.repositories.jobs import Claim
from core.settings import Settings
from tests import ROOT
from tests.conftest import NOW
from tests.support.fakes import FakeLauncher, FakeProcess, model_card
from worker.processes.exit_codes import EXIT_CLAIM_LOST, EXIT_INTERRUPTED
from worker.processes.launcher import Launcher, Process
from worker.supervisor.garbage_collector import GarbageCollector
from worker.supervisor.loop import WorkerLoop
from worker.supervisor.process_slot import ProcessSlot

Enqueue = Callable[..., Job]
Claimed = Callable[..., Claim]
JobOf = Callable[[str], Job]
KILLED = -signal.SIGKILL


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.supervisor.loop, "WATCH_S", 0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loop(settings: Settings, db: Database, clock: Clock) -> Callable[..., WorkerLoop]:
    """A registered worker whose trainers are the given processes."""

    def make(*processes: Process, launcher: Launcher | None = None) -> WorkerLoop:
        made = WorkerLoop(settings, db, launcher or FakeLauncher(processes), clock, monotonic=clock)
        with db.write() as session:
            workers.register(session, Worker(id=made.id, host="here", pid=1, started_at=clock(), heartbeat_at=clock()))
        return made

    return make


def reasons(db: Database, job_id: str) -> list[str]:
    with db.read() as session:
        return [e.data.get("reason", "") for e in events.after(session, job_id, 0, 100, "status")]


def test_a_waiting_job_is_claimed_and_its_trainer_started(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, job_of: JobOf
) -> None:
    job = enqueue()
    seen: list[JobStatus] = []
    launcher = FakeLauncher([FakeProcess(alive=1, on_look=lambda: seen.append(job_of(job.id).status))])
    it = loop(launcher=launcher)
    assert it.step() == Claim(job.id, 1)
    assert launcher.claims == [Claim(job.id, 1)]
    assert seen == [JobStatus.RUNNING] * 2


def test_only_an_idle_worker_makes_ready_for_the_next_job(
    settings: Settings, db: Database, enqueue: Enqueue, clock: Clock
) -> None:
    enqueue(max_attempts=1)
    seen: list[str] = []

    def idle() -> None:
        seen.append("idle")
        it.stop.set()

    launcher = FakeLauncher([FakeProcess(KILLED, alive=2, on_look=lambda: seen.append("trains"))])
    it = WorkerLoop(settings, db, launcher, clock, while_idle=idle)
    it.run()
    assert seen == ["trains"] * 3 + ["idle"]


@pytest.mark.parametrize(("busy_s", "turns"), [(0, 3), (250, 12)])
def test_a_worker_ends_once_it_had_nothing_to_do_for_its_time(
    settings: Settings, db: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch, busy_s: float, turns: int
) -> None:
    seen: list[float] = []

    def idle() -> None:
        clock.move(25)
        seen.append(clock.now)

    monkeypatch.setattr(ProcessSlot, "is_busy", property(lambda _: clock.now < NOW + busy_s))  # with a batch
    limits = {"worker_idle_s": 60.0, "poll_s": 0.001}
    WorkerLoop(settings.model_copy(update=limits), db, FakeLauncher([]), clock, idle, clock).run()
    assert len(seen) == turns


def test_a_job_starts_the_idle_time_anew(settings: Settings, db: Database, enqueue: Enqueue, clock: Clock) -> None:
    seen: list[float] = []

    def idle() -> None:
        clock.move(25)
        seen.append(clock.now)
        if len(seen) == 2:
            enqueue(max_attempts=1)

    limits = {"worker_idle_s": 60.0, "poll_s": 0.001}
    launcher = FakeLauncher([FakeProcess(KILLED)])
    WorkerLoop(settings.model_copy(update=limits), db, launcher, clock, idle, clock).run()
    assert len(seen) == 2 + 3


def test_a_worker_ends_after_its_time(settings: Settings) -> None:
    limited = settings.model_copy(update={"worker_max_s": 0.1})
    ended = subprocess.run(
        [sys.executable, "-m", "worker"],
        env=os.environ | limited.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_with_nothing_to_do_nothing_is_started(loop: Callable[..., WorkerLoop]) -> None:
    launcher = FakeLauncher([])
    assert loop(launcher=launcher).step() is None
    assert launcher.claims == []


@pytest.mark.parametrize(("code", "reason"), [(KILLED, "killed"), (-signal.SIGSEGV, "killed"), (1, "internal")])
def test_a_trainer_that_died_is_tried_again_and_then_its_job_fails(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, job_of: JobOf, code: int, reason: str
) -> None:
    job_id = enqueue(max_attempts=2).id
    it = loop(FakeProcess(code), FakeProcess(code))
    it.step()
    assert (job_of(job_id).status, job_of(job_id).failures) == (JobStatus.QUEUED, 1)
    it.step()
    job = job_of(job_id)
    assert (job.status, job.attempt, job.failures) == (JobStatus.FAILED, 2, 2)
    assert job.error is not None
    assert job.error["code"] == reason


@pytest.mark.parametrize(
    ("before", "after", "code", "reason"),
    [
        (2, 3, KILLED, "out_of_memory"),
        (2, 2, KILLED, "killed"),
        (None, 1, KILLED, "killed"),
        (1, None, KILLED, "killed"),
        (2, 3, -signal.SIGSEGV, "killed"),
        (2, 3, 1, "internal"),
    ],
)
def test_a_trainer_that_the_kernel_killed_for_want_of_memory_is_told_from_others(
    settings: Settings,
    db: Database,
    enqueue: Enqueue,
    clock: Clock,
    before: int | None,
    after: int | None,
    code: int,
    reason: str,
) -> None:
    job_id = enqueue(max_attempts=2).id
    counts = iter([before, after])
    it = WorkerLoop(settings, db, FakeLauncher([FakeProcess(code)]), clock, count_oom_kills=lambda: next(counts))
    with db.write() as session:
        workers.register(session, Worker(id=it.id, host="here", pid=1, started_at=clock(), heartbeat_at=clock()))
    it.step()
    assert reasons(db, job_id)[-1].startswith(f"{reason}: ")
    with db.read() as session:
        assert jobs.count_out_of_memory(session, job_id, 1) == (reason == "out_of_memory")
        assert jobs.count_out_of_memory(session, job_id, 2) == 0


def test_a_trainer_that_we_killed_is_not_taken_for_one_that_had_no_memory(
    settings: Settings, db: Database, enqueue: Enqueue, clock: Clock
) -> None:
    job_id = enqueue(max_attempts=2).id
    counts = iter([0, 1])
    process = FakeProcess(alive=1000, on_look=lambda: clock.move(settings.stall_timeout_s / 4))
    it = WorkerLoop(
        settings, db, FakeLauncher([process]), clock, monotonic=clock, count_oom_kills=lambda: next(counts, 1)
    )
    with db.write() as session:
        workers.register(session, Worker(id=it.id, host="here", pid=1, started_at=clock(), heartbeat_at=clock()))
    it.step()
    assert reasons(db, job_id)[-1].startswith("killed: No heartbeat for ")


@pytest.mark.parametrize(("code", "words"), [(KILLED, "SIGKILL"), (-signal.SIGTERM, "SIGTERM"), (7, "exit code 7")])
def test_the_reason_says_how_the_trainer_ended(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, job_of: JobOf, code: int, words: str
) -> None:
    job_id = enqueue(max_attempts=1).id
    loop(FakeProcess(code)).step()
    error = job_of(job_id).error
    assert error is not None
    assert words in error["message"]
    assert error["hint"]


def test_a_trainer_that_says_nothing_has_failed_even_with_exit_code_0(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, job_of: JobOf
) -> None:
    job_id = enqueue(max_attempts=1).id
    loop(FakeProcess(0)).step()
    error = job_of(job_id).error
    assert error is not None
    assert error["code"] == "internal"


@pytest.mark.parametrize(
    ("error", "code"), [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EAGAIN, "internal")]
)
def test_a_trainer_that_cannot_even_be_started_is_tried_again_and_then_its_job_fails(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, job_of: JobOf, error: int, code: str
) -> None:
    job_id = enqueue(max_attempts=2).id

    def launch(claim: Claim, settings: Settings) -> Process:
        raise OSError(error, os.strerror(error))

    it = loop(launcher=launch)
    it.step()
    assert (job_of(job_id).status, job_of(job_id).failures) == (JobStatus.QUEUED, 1)
    it.step()
    job = job_of(job_id)
    assert (job.status, job.error and job.error["code"]) == (JobStatus.FAILED, code)


def test_a_sweep_that_fails_stops_no_heartbeat_and_no_job(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: GarbageCollector) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(GarbageCollector, "tend", fail)
    job_id = enqueue().id
    assert loop(FakeProcess(KILLED, alive=2)).step() == Claim(job_id, 1)
    assert job_of(job_id).failures == 1


def test_a_frozen_trainer_that_holds_the_database_is_killed_and_its_job_goes_on(
    settings: Settings, db: Database, enqueue: Enqueue, job_of: JobOf, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = enqueue().id
    monkeypatch.setattr(core.db.database, "BUSY_MS", 1)
    impatient = Database(settings.resolved_database_url)
    held = ExitStack()

    class Frozen(FakeProcess):
        def poll(self) -> int | None:
            if not self.signals and clock() == NOW:
                held.enter_context(db.write()).execute(text("SELECT 1"))
            clock.move(settings.stall_timeout_s / 4)
            return super().poll()

        def kill(self) -> None:
            super().kill()
            held.close()

    process = Frozen(alive=100)
    it = WorkerLoop(settings, impatient, FakeLauncher([process]), clock, monotonic=clock)
    with db.write() as session:
        workers.register(session, Worker(id=it.id, host="here", pid=1, started_at=clock(), heartbeat_at=clock()))
    it.step()
    assert process.signals == [signal.SIGKILL]
    assert (job_of(job_id).status, job_of(job_id).failures) == (JobStatus.QUEUED, 1)
    impatient.close()


def test_what_the_trainer_said_itself_stands(
    loop: Callable[..., WorkerLoop], db: Database, enqueue: Enqueue, job_of: JobOf
) -> None:
    job_id = enqueue(max_attempts=5).id

    def fail() -> None:
        with db.write() as session:
            jobs.fail(session, Claim(job_id, 1), jobs.describe(DatasetInvalid("broken")), NOW)

    loop(FakeProcess(1, on_look=fail)).step()
    job = job_of(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error["message"] == "broken"


def test_a_job_that_has_succeeded_is_left_alone_however_its_trainer_ended(
    loop: Callable[..., WorkerLoop], db: Database, enqueue: Enqueue, job_of: JobOf, publish_for: Callable[[Claim], None]
) -> None:
    job_id = enqueue(max_attempts=1).id
    loop(FakeProcess(KILLED, on_look=lambda: publish_for(Claim(job_id, 1)))).step()
    assert job_of(job_id).status is JobStatus.SUCCEEDED
    assert job_of(job_id).failures == 0


@pytest.fixture
def publish_for(db: Database) -> Callable[[Claim], None]:
    from core.repositories import models

    def publish(claim: Claim) -> None:
        with db.write() as session:
            models.publish(session, "model_1", claim.job_id, "models/model_1", model_card(), NOW)
            jobs.succeed(session, claim, "model_1", NOW)

    return publish


def test_a_cancelled_trainer_gets_its_time_and_no_more(
    loop: Callable[..., WorkerLoop], db: Database, enqueue: Enqueue, job_of: JobOf, clock: Clock, settings: Settings
) -> None:
    job_id = enqueue().id
    killed_at: list[float] = []

    def look() -> None:
        if process.signals:
            killed_at.append(clock())
        with db.write() as session:
            if jobs.get(session, job_id).status is JobStatus.RUNNING:
                job_control.cancel(session, job_id, clock())
            elif not killed_at:
                clock.move(1)

    process = FakeProcess(alive=1000, on_look=look)
    loop(process).step()
    assert process.signals == [signal.SIGKILL]
    assert killed_at == [NOW + settings.cancel_grace_s]
    assert job_of(job_id).status is JobStatus.CANCELLED


def test_a_trainer_that_was_to_keep_what_it_has_is_killed_once_that_is_not_wanted_any_more(
    loop: Callable[..., WorkerLoop], db: Database, enqueue: Enqueue, job_of: JobOf, clock: Clock, settings: Settings
) -> None:
    job_id = enqueue().id
    keeps = iter([True, True, False])

    def look() -> None:
        clock.move(settings.heartbeat_interval_s)
        with db.write() as session:
            if jobs.get(session, job_id).status in OWNED:
                job_control.cancel(session, job_id, clock(), next(keeps, False))
                jobs.heartbeat(session, Claim(job_id, 1), clock())

    process = FakeProcess(alive=1000, on_look=look)
    loop(process).step()
    assert process.signals == [signal.SIGKILL]
    assert (job_of(job_id).status, job_of(job_id).model_id) == (JobStatus.CANCELLED, None)


def test_a_cancelled_trainer_that_stops_by_itself_is_not_killed(
    loop: Callable[..., WorkerLoop], db: Database, enqueue: Enqueue, job_of: JobOf
) -> None:
    job_id = enqueue().id

    def cancel() -> None:
        with db.write() as session:
            job_control.cancel(session, job_id, NOW)

    process = FakeProcess(EXIT_INTERRUPTED, alive=3, on_look=cancel)
    loop(process).step()
    assert process.signals == []
    assert job_of(job_id).status is JobStatus.CANCELLED
    assert job_of(job_id).failures == 0


def test_a_trainer_without_heartbeats_is_killed_and_tried_again(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, job_of: JobOf, clock: Clock, settings: Settings, db: Database
) -> None:
    job_id = enqueue().id
    process = FakeProcess(alive=1000, on_look=lambda: clock.move(settings.stall_timeout_s / 4))
    loop(process).step()
    assert process.signals == [signal.SIGKILL]
    assert clock() > NOW + settings.stall_timeout_s
    assert (job_of(job_id).status, job_of(job_id).failures) == (JobStatus.QUEUED, 1)
    assert reasons(db, job_id)[-1].startswith("killed: No heartbeat for ")


def test_a_trainer_with_heartbeats_may_take_as_long_as_it_likes(
    loop: Callable[..., WorkerLoop], db: Database, enqueue: Enqueue, clock: Clock, settings: Settings
) -> None:
    job_id = enqueue().id

    def work() -> None:
        clock.move(settings.stall_timeout_s / 2)
        with db.write() as session:
            jobs.heartbeat(session, Claim(job_id, 1), clock())

    process = FakeProcess(alive=20, on_look=work)
    loop(process).step()
    assert process.signals == []


def test_a_worker_told_to_stop_hands_its_job_back(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, job_of: JobOf, db: Database
) -> None:
    job_id = enqueue(max_attempts=1).id
    process = FakeProcess(EXIT_INTERRUPTED, alive=3, on_look=lambda: it.stop.set())
    it = loop(process)
    it.step()
    assert process.signals == [signal.SIGTERM]
    assert (job_of(job_id).status, job_of(job_id).failures) == (JobStatus.QUEUED, 0)
    assert reasons(db, job_id)[-1] == "the worker was stopped"


def test_a_trainer_that_will_not_stop_is_killed_and_its_job_counts_no_failure(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, job_of: JobOf, clock: Clock, settings: Settings
) -> None:
    job_id = enqueue(max_attempts=1).id

    def look() -> None:
        it.stop.set()
        clock.move(1)

    process = FakeProcess(alive=1000, on_look=look)
    it = loop(process)
    it.step()
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]
    assert clock() >= NOW + settings.stop_grace_s
    assert (job_of(job_id).status, job_of(job_id).failures) == (JobStatus.QUEUED, 0)


def test_a_cancelled_trainer_is_told_when_its_worker_is_to_stop_and_gets_no_more_than_that_leaves_it(
    settings: Settings, db: Database, enqueue: Enqueue, job_of: JobOf, clock: Clock
) -> None:
    job_id = enqueue().id
    killed_at: list[float] = []

    def look() -> None:
        if signal.SIGKILL in process.signals:
            killed_at.append(clock())
            return
        clock.move(1)
        with db.write() as session:
            if jobs.get(session, job_id).status is JobStatus.RUNNING:
                job_control.cancel(session, job_id, clock())
        if clock() >= NOW + 3:
            it.stop.set()

    process = FakeProcess(alive=1000, on_look=look)
    patient = settings.model_copy(update={"cancel_grace_s": 60.0, "stop_grace_s": 5.0})
    it = WorkerLoop(patient, db, FakeLauncher([process]), clock, monotonic=clock)
    with db.write() as session:
        workers.register(session, Worker(id=it.id, host="here", pid=1, started_at=clock(), heartbeat_at=clock()))
    it.step()
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]
    assert killed_at == [NOW + 3 + patient.stop_grace_s]
    assert job_of(job_id).status is JobStatus.CANCELLED


@pytest.mark.parametrize("taken", [True, False], ids=["claimed by another", "back in the queue"])
def test_a_trainer_whose_job_is_another_workers_is_killed_and_writes_nothing(
    loop: Callable[..., WorkerLoop], db: Database, enqueue: Enqueue, claimed: Claimed, job_of: JobOf, taken: bool
) -> None:
    job_id = enqueue(at=NOW - 1).id

    def lose() -> None:
        with db.write() as session:
            if jobs.get(session, job_id).attempt == 1 and jobs.get(session, job_id).status is JobStatus.RUNNING:
                jobs.release(session, Claim(job_id, 1), "lost", NOW)
        if taken and job_of(job_id).status is JobStatus.QUEUED:
            claimed("worker_b")

    process = FakeProcess(alive=1000, on_look=lose)
    loop(process).step()
    assert process.signals == [signal.SIGKILL]
    job = job_of(job_id)
    expected = (JobStatus.RUNNING, 2, "worker_b") if taken else (JobStatus.QUEUED, 1, None)
    assert (job.status, job.attempt, job.worker_id) == expected
    assert job.failures == 0


def test_a_trainer_that_left_its_lost_job_changes_nothing(
    loop: Callable[..., WorkerLoop], db: Database, enqueue: Enqueue, job_of: JobOf, claimed: Claimed
) -> None:
    job_id = enqueue(at=NOW - 1, max_attempts=1).id

    def lose() -> None:
        with db.write() as session:
            jobs.release(session, Claim(job_id, 1), "lost", NOW)
        claimed("worker_b")

    loop(FakeProcess(EXIT_CLAIM_LOST, on_look=lose)).step()
    assert (job_of(job_id).status, job_of(job_id).attempt) == (JobStatus.RUNNING, 2)


@pytest.mark.parametrize("alive", [0, 1000], ids=["that just ended", "that is still exiting"])
def test_a_job_that_is_deleted_under_its_trainer_takes_no_worker_along(
    loop: Callable[..., WorkerLoop], db: Database, enqueue: Enqueue, alive: int
) -> None:
    job_id = enqueue().id

    def end_and_delete() -> None:
        with db.write() as session:
            if session.get(Job, job_id) is not None:
                jobs.fail(session, Claim(job_id, 1), jobs.describe(DatasetInvalid("broken")), NOW)
                job_control.delete(session, job_id)

    process = FakeProcess(alive=alive, on_look=end_and_delete)
    it = loop(process)
    assert it.step() == Claim(job_id, 1)
    assert process.signals == ([signal.SIGKILL] if alive else [])
    assert it.step() is None


def test_lost_jobs_of_others_are_looked_after_while_a_job_runs(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, claimed: Claimed, job_of: JobOf, clock: Clock, settings: Settings
) -> None:
    theirs = claimed("worker_b").job_id
    ours = enqueue().id
    seen: list[JobStatus] = []

    def look() -> None:
        clock.move(settings.lease_s / 2)
        seen.append(job_of(theirs).status)

    loop(FakeProcess(alive=4, on_look=look)).step()
    assert seen[0] is JobStatus.RUNNING
    assert seen[-1] is JobStatus.QUEUED
    assert job_of(ours).worker_id is None  # its own silence would have been worker_lost
    assert job_of(ours).attempt == 1


def test_a_worker_sends_heartbeats_while_its_trainer_runs(
    loop: Callable[..., WorkerLoop], db: Database, enqueue: Enqueue, clock: Clock, settings: Settings
) -> None:
    enqueue()
    it = loop(FakeProcess(alive=5, on_look=lambda: clock.move(settings.heartbeat_interval_s)))
    it.step()
    with db.read() as session:
        assert workers.count_live(session, clock(), settings.heartbeat_interval_s) == 1


def test_a_look_that_the_database_refuses_is_made_again(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = enqueue().id
    it = loop(FakeProcess(KILLED, alive=3))
    refuse(monkeypatch, it, "_grace_s", times=2)
    it.step()
    assert job_of(job_id).status is JobStatus.QUEUED


def test_the_end_of_a_trainer_is_recorded_once_the_database_is_back(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = enqueue().id
    it = loop(FakeProcess(KILLED))
    calls = refuse(monkeypatch, it, "_record_end", times=3)
    it.step()
    assert len(calls) == 4
    assert (job_of(job_id).status, job_of(job_id).failures) == (JobStatus.QUEUED, 1)


def test_a_worker_told_to_stop_does_not_wait_for_a_database(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue()
    it = loop(FakeProcess(EXIT_INTERRUPTED, alive=1, on_look=lambda: it.stop.set()))
    refuse(monkeypatch, it, "_record_end", times=1000)
    with pytest.raises(OperationalError):
        it.step()


def refuse(monkeypatch: pytest.MonkeyPatch, it: WorkerLoop, method: str, times: int) -> list[None]:
    """Make a method's first calls fail; return the calls so far.

    They fail as if the database were away.
    """
    calls: list[None] = []
    real = getattr(it, method)

    def answer(*arguments: object) -> object:
        calls.append(None)
        if len(calls) <= times:
            raise OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))
        return real(*arguments)

    monkeypatch.setattr(it, method, answer)
    return calls


def test_a_job_whose_claim_was_committed_and_not_heard_of_is_claimed_again(
    loop: Callable[..., WorkerLoop], db: Database, enqueue: Enqueue, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = enqueue().id
    launcher = FakeLauncher([FakeProcess(KILLED)])
    it = loop(launcher=launcher)
    write = db.write
    cuts: list[str] = []

    @contextmanager
    def write_and_break() -> Iterator[Session]:
        with write() as session:
            yield session
        if not cuts and job_of(job_id).status is JobStatus.RUNNING:
            cuts.append(job_id)
            raise OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))

    monkeypatch.setattr(db, "write", write_and_break)
    with pytest.raises(OperationalError):
        it.step()
    assert (job_of(job_id).status, launcher.claims) == (JobStatus.RUNNING, [])
    it.step()
    assert launcher.claims == [Claim(job_id, 2)]
    assert job_of(job_id).failures == 1  # of the second attempt's trainer


def test_a_worker_runs_until_told_to_stop_and_says_goodbye(
    settings: Settings, db: Database, enqueue: Enqueue, job_of: JobOf, clock: Clock
) -> None:
    ids = [enqueue(max_attempts=1).id, enqueue(at=NOW + 1).id, enqueue(at=NOW + 2).id]
    it = WorkerLoop(
        settings, db, FakeLauncher([FakeProcess(KILLED), FakeProcess(on_look=lambda: it.stop.set())]), clock
    )
    it.run()
    expected = [(JobStatus.FAILED, 1), (JobStatus.QUEUED, 1), (JobStatus.QUEUED, 0)]
    assert [(job_of(job_id).status, job_of(job_id).attempt) for job_id in ids] == expected
    with db.read() as session:
        assert workers.count_live(session, clock(), settings.lease_s) == 0


def test_a_worker_outlives_a_database_that_is_away(
    settings: Settings, db: Database, enqueue: Enqueue, job_of: JobOf, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = enqueue().id
    quick = settings.model_copy(update={"poll_s": 0.001})
    it = WorkerLoop(quick, db, FakeLauncher([FakeProcess(0, on_look=lambda: it.stop.set())]), clock)
    calls = refuse(monkeypatch, it, "step", times=2)
    it.run()
    assert len(calls) == 3
    assert job_of(job_id).attempt == 1


def test_a_worker_that_was_taken_for_lost_does_not_keep_its_job(
    loop: Callable[..., WorkerLoop], db: Database, enqueue: Enqueue, clock: Clock, settings: Settings, job_of: JobOf
) -> None:
    job_id = enqueue().id

    def sleep_through_the_lease() -> None:
        with db.write() as session:
            session.execute(update(Worker).values(heartbeat_at=NOW - settings.lease_s - 1))
            jobs.requeue_lost(session, clock(), settings.lease_s)

    process = FakeProcess(alive=1000, on_look=sleep_through_the_lease)
    loop(process).step()
    assert process.signals == [signal.SIGKILL]
    assert (job_of(job_id).status, job_of(job_id).failures) == (JobStatus.QUEUED, 1)


HOUR = 3600.0


class Jumping(Clock):
    """The wall clock beside one that never jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.even = 0.0

    def move(self, seconds: float) -> None:
        super().move(seconds)
        self.even += seconds

    def jump(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def jumping(settings: Settings, db: Database) -> tuple[WorkerLoop, Jumping]:
    clock = Jumping()
    made = WorkerLoop(settings, db, FakeLauncher([]), clock, monotonic=lambda: clock.even)
    with db.write() as session:
        workers.register(session, Worker(id=made.id, host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
    return made, clock


@pytest.mark.parametrize("happens", ["jump", "move"], ids=["the clock was set", "the database was away"])
def test_after_a_jump_of_the_clock_or_an_outage_others_have_a_lease_to_be_heard_of(
    jumping: tuple[WorkerLoop, Jumping],
    settings: Settings,
    claimed: Claimed,
    job_of: JobOf,
    db: Database,
    happens: str,
) -> None:
    (it, clock), theirs = jumping, claimed("worker_b").job_id

    def passes(seconds: float) -> None:
        for _ in range(10):
            clock.move(seconds / 10)
            it._heartbeat_due = clock.even
            it._heartbeat()

    it.step()
    getattr(clock, happens)(HOUR)  # the machine slept, or nobody could write a heartbeat; worker_b has yet to do it
    clock.move(settings.heartbeat_interval_s)
    it.step()
    assert job_of(theirs).status is JobStatus.RUNNING
    with db.write() as session:
        workers.heartbeat(session, "worker_b", clock())
    passes(settings.lease_s - 1)
    assert job_of(theirs).status is JobStatus.RUNNING
    passes(settings.lease_s)  # now it is truly silent
    assert job_of(theirs).status is JobStatus.QUEUED


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_worker_sends_heartbeats_whatever_happens_to_the_clock(
    jumping: tuple[WorkerLoop, Jumping], settings: Settings, db: Database, seconds: float
) -> None:
    it, clock = jumping
    it.step()
    clock.jump(seconds)
    clock.move(settings.heartbeat_interval_s)
    it.step()
    with db.read() as session:
        assert session.get_one(Worker, it.id).heartbeat_at == clock()


@pytest.mark.parametrize("limit", [{}, {"time_limit_s": 60}], ids=["as silent", "for its time limit"])
def test_a_trainer_is_not_killed_because_the_machine_slept(
    settings: Settings, db: Database, enqueue: Enqueue, limit: dict[str, float]
) -> None:
    job_id, jumping = enqueue(**limit).id, Jumping()

    def look() -> None:
        if jumping.even == 0:
            jumping.jump(HOUR)
        else:  # it has woken up, and sends a heartbeat
            with db.write() as session:
                jobs.heartbeat(session, Claim(job_id, 1), jumping())
        jumping.move(1)

    process = FakeProcess(alive=20, on_look=look)
    it = WorkerLoop(settings, db, FakeLauncher([process]), jumping, monotonic=lambda: jumping.even)
    with db.write() as session:
        workers.register(session, Worker(id=it.id, host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
    it.step()
    assert process.signals == []
    with db.read() as session:
        ended = jobs.get(session, job_id)
    assert (ended.status, ended.ran_s) == (JobStatus.QUEUED, jumping.even)  # it died by itself: code 1


def test_a_trainer_is_stopped_at_its_time_limit(
    loop: Callable[..., WorkerLoop], enqueue: Enqueue, job_of: JobOf, clock: Clock
) -> None:
    job_id = enqueue(time_limit_s=60).id
    process = FakeProcess(alive=99, on_look=lambda: clock.move(1))
    loop(process).step()
    assert process.signals[0] == signal.SIGTERM
    ended = job_of(job_id)
    assert ended.error is not None
    assert (ended.status, ended.error["code"]) == (JobStatus.FAILED, "timeout")


def test_a_stopping_trainer_has_its_grace_though_the_clock_is_set(
    settings: Settings, db: Database, enqueue: Enqueue
) -> None:
    enqueue()
    jumping, seen = Jumping(), list[tuple[float, list[signal.Signals]]]()

    def look() -> None:
        if jumping.even == 0:
            it.stop.set()
        elif jumping.even == 1:
            jumping.jump(HOUR)
        seen.append((jumping.even, list(process.signals)))
        jumping.move(1)

    process = FakeProcess(alive=99, on_look=look)
    it = WorkerLoop(settings, db, FakeLauncher([process]), jumping, monotonic=lambda: jumping.even)
    it._register()
    it.step()
    killed_s = next(even for even, signals in seen if signal.SIGKILL in signals)
    assert settings.stop_grace_s < killed_s < settings.stop_grace_s + 5
