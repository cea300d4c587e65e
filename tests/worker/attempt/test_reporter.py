"""worker.attempt.reporter: an attempt reports while the job is its own."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.db.database import Database
from core.db.tables import Checkpoint, Event, Job, JobStatus, Model, Phase
from core.errors import ClaimLost
from core.repositories import events, job_control, jobs
from core.repositories.jobs import Claim
from tests.conftest import NOW
from tests.support.fakes import model_card
from worker.attempt.reporter import AWAY_S, Reporter
from worker.processes.exit_codes import EXIT_CLAIM_LOST
from worker.publishing.package import Package
from worker.publishing.publish import end_job

JobOf = Callable[[str], Job]


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def report(db: Database, claimed: Callable[..., Claim], clock: Clock) -> Reporter:
    return Reporter(db, claimed(), 0.01, clock)


@pytest.fixture
def lose(db: Database, report: Reporter) -> Callable[[], None]:
    """Hand the job to a later attempt."""

    def take() -> None:
        with db.write() as session:
            jobs.release(session, report.claim, "test", NOW)
            assert jobs.claim(session, "worker_a", NOW) is not None

    return take


def logged(db: Database, job_id: str) -> list[Event]:
    with db.read() as session:
        return events.after(session, job_id, 0, 100)


def test_a_phase_ends_when_the_next_begins(report: Reporter, clock: Clock, job_of: JobOf) -> None:
    report.phase(Phase.STARTING)
    clock.now += 2
    report.phase(Phase.PREPARING_DATA, "data set digits")
    clock.now += 3
    job = job_of(report.claim.job_id)
    assert job.phase is Phase.PREPARING_DATA
    assert job.phases == [
        {"phase": "starting", "started_at": NOW, "ended_at": NOW + 2, "message": ""},
        {"phase": "preparing_data", "started_at": NOW + 2, "ended_at": None, "message": "data set digits"},
    ]


def test_every_phase_is_an_event(report: Reporter, db: Database) -> None:
    report.phase(Phase.TRAINING, "resnet18")
    last = logged(db, report.claim.job_id)[-1]
    assert (last.kind, last.at) == ("status", NOW)
    assert last.data == {"status": "running", "phase": "training", "message": "resnet18"}


def test_a_phase_that_goes_on_has_taken_its_time_so_far(report: Reporter, clock: Clock) -> None:
    report.phase(Phase.STARTING)
    clock.now += 2
    report.phase(Phase.TRAINING)
    clock.now += 5
    assert report.seconds_in(Phase.STARTING) == 2
    assert report.seconds_in(Phase.TRAINING) == 5
    assert report.seconds_in(Phase.PUBLISHING) == 0


def test_at_the_end_every_phase_has_ended_and_stays_so(report: Reporter, clock: Clock) -> None:
    report.phase(Phase.STARTING)
    clock.now += 2
    assert [phase["ended_at"] for phase in report.ended_phases()] == [NOW + 2]
    clock.now += 2
    assert [phase["ended_at"] for phase in report.ended_phases()] == [NOW + 2]


def test_what_is_recorded_is_a_sign_of_life_too(report: Reporter, clock: Clock, job_of: JobOf) -> None:
    clock.now += 9
    report.record(progress={"percent": 50.0}, estimated_finish=NOW + 60)
    job = job_of(report.claim.job_id)
    assert (job.progress, job.estimated_finish, job.heartbeat_at) == ({"percent": 50.0}, NOW + 60, NOW + 9)


def first_checkpoint(job_id: str) -> Checkpoint:
    return Checkpoint(
        id="ckpt_1",
        job_id=job_id,
        attempt=1,
        epoch=1,
        step=1,
        key="k",
        metrics={},
        size_bytes=1,
        created_at=NOW,
    )


def test_an_event_its_rows_and_columns_come_together(report: Reporter, db: Database, job_of: JobOf) -> None:
    row = first_checkpoint(report.claim.job_id)
    report.event("checkpoint", {"id": "ckpt_1"}, row, metrics={"epoch": 1})
    assert logged(db, report.claim.job_id)[-1].data == {"id": "ckpt_1"}
    assert job_of(report.claim.job_id).metrics == {"epoch": 1}
    with db.read() as session:
        assert session.get(Checkpoint, "ckpt_1") is not None


def test_a_message_goes_to_the_jobs_log(report: Reporter, db: Database) -> None:
    report.log("starting anew")
    last = logged(db, report.claim.job_id)[-1]
    assert (last.kind, last.data) == ("log", {"message": "starting anew"})


def test_an_attempt_that_has_lost_the_job_can_say_nothing(
    report: Reporter, lose: Callable[[], None], db: Database, job_of: JobOf
) -> None:
    lose()
    before = (len(logged(db, report.claim.job_id)), job_of(report.claim.job_id).heartbeat_at)
    row = first_checkpoint(report.claim.job_id)
    sayings: tuple[Callable[[], None], ...] = (
        lambda: report.phase(Phase.TRAINING),
        lambda: report.record(progress={"percent": 99.0}),
        lambda: report.event("checkpoint", {}, row),
        lambda: report.log("still here"),
        report.heartbeat,
    )
    for say in sayings:
        with pytest.raises(ClaimLost):
            say()
    assert (len(logged(db, report.claim.job_id)), job_of(report.claim.job_id).heartbeat_at) == before
    assert job_of(report.claim.job_id).progress == {}
    with db.read() as session:
        assert session.get(Checkpoint, "ckpt_1") is None


@pytest.fixture
def away(db: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that makes the database fail for some seconds.

    It answers as one that restarts does.
    """
    write = db.write
    back = [NOW]

    def leave(seconds: float, cause: str = "the connection is closed") -> None:
        back[0] = clock.now + seconds

        @contextmanager
        def not_there() -> Iterator[Session]:
            with write() as session:
                yield session
                session.flush()
                if clock.now < back[0]:
                    raise OperationalError("COMMIT", {}, sqlite3.OperationalError(cause))

        monkeypatch.setattr(db, "write", not_there)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    return leave


def test_what_is_said_while_the_database_restarts_is_not_lost(
    report: Reporter, db: Database, job_of: JobOf, away: Callable[..., None]
) -> None:
    away(10)
    row = first_checkpoint(report.claim.job_id)
    report.event("checkpoint", {"epoch": 1}, row, progress={"percent": 50.0})
    away(10)
    report.phase(Phase.EVALUATING)
    assert [event.kind for event in logged(db, report.claim.job_id)][-2:] == ["checkpoint", "status"]
    assert job_of(report.claim.job_id).progress == {"percent": 50.0}
    with db.read() as session:
        assert session.get(Checkpoint, "ckpt_1") is not None


@pytest.mark.parametrize("committed", [False, True], ids=["before the commit", "after the commit"])
def test_a_model_is_published_once_though_the_database_goes_away_meanwhile(
    report: Reporter,
    db: Database,
    job_of: JobOf,
    away: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
) -> None:
    if committed:
        lose_one_answer(db, monkeypatch)
    else:
        away(10)
    card = model_card() | {"test": {"correct": 1}, "timing": {}, "files": {}}
    end_job(torch.device("cpu"), Package("model_1", card, {}), card, report)
    job = job_of(report.claim.job_id)
    assert (job.status, job.model_id) == (JobStatus.SUCCEEDED, "model_1")
    with db.read() as session:
        assert session.scalars(select(Model.version)).all() == [1]
    published = [event for event in logged(db, job.id) if "serves" in event.data.get("message", "")]
    assert len(published) == 1


def lose_one_answer(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    write, answers = db.write, iter([False])

    @contextmanager
    def unheard() -> Iterator[Session]:
        with write() as session:
            yield session
        if not next(answers, True):
            raise OperationalError("COMMIT", {}, sqlite3.OperationalError("the connection is closed"))

    monkeypatch.setattr(db, "write", unheard)


def test_progress_is_not_waited_for(report: Reporter, clock: Clock, job_of: JobOf, away: Callable[..., None]) -> None:
    away(10)
    report.progress(progress={"percent": 50.0})
    assert clock.now == NOW
    clock.now += 10
    report.progress(progress={"percent": 60.0})
    assert job_of(report.claim.job_id).progress == {"percent": 60.0}


def test_a_database_that_stays_away_ends_it(report: Reporter, clock: Clock, away: Callable[..., None]) -> None:
    away(10_000)
    with pytest.raises(OperationalError):
        report.log("anybody there?")
    assert AWAY_S < clock.now - NOW < AWAY_S + 5


def test_a_full_disk_is_not_waited_for(report: Reporter, clock: Clock, away: Callable[..., None]) -> None:
    away(10_000, "database or disk is full")
    with pytest.raises(OperationalError):
        report.log("no room")
    assert clock.now == NOW


def test_a_heartbeat_is_a_sign_of_life_and_goes_on(report: Reporter, clock: Clock, job_of: JobOf) -> None:
    clock.now += 4
    report.heartbeat()
    assert job_of(report.claim.job_id).heartbeat_at == NOW + 4
    assert not report.stop.is_set()


def test_the_heartbeat_of_a_cancelled_job_says_stop(report: Reporter, db: Database) -> None:
    with db.write() as session:
        job_control.cancel(session, report.claim.job_id, NOW)
    report.heartbeat()
    assert report.stop.is_set()


def test_the_heartbeat_thread_brings_the_word_to_stop(report: Reporter, db: Database, leave: threading.Event) -> None:
    with db.write() as session:
        job_control.cancel(session, report.claim.job_id, NOW)
    report.start_heartbeat()
    assert report.stop.wait(10)
    with db.write() as session:
        jobs.cancelled(session, report.claim, NOW)  # which ends the thread
    assert leave.wait(10)
    for thread in threading.enumerate():
        if thread.name == "heartbeat":
            thread.join(10)


@pytest.fixture
def leave(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """An event that is set when the process would have ended.

    The thread that asked for it ends instead.
    """
    left = threading.Event()

    def end(code: int) -> None:
        assert code == EXIT_CLAIM_LOST
        left.set()
        raise SystemExit

    monkeypatch.setattr("os._exit", end)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)  # to which SystemExit is no error
    return left


def test_a_process_that_has_lost_its_job_leaves_at_its_next_heartbeat(
    report: Reporter, lose: Callable[[], None], leave: threading.Event
) -> None:
    lose()
    with pytest.raises(SystemExit):
        report._send_heartbeats()
    assert leave.is_set()


def test_a_heartbeat_that_the_database_refuses_is_tried_again(
    report: Reporter, lose: Callable[[], None], leave: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeats: list[None] = []
    real = report.heartbeat

    def heartbeat() -> None:
        heartbeats.append(None)
        if len(heartbeats) < 3:
            raise OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))
        if len(heartbeats) == 4:
            lose()
        real()

    monkeypatch.setattr(report, "heartbeat", heartbeat)
    with pytest.raises(SystemExit):
        report._send_heartbeats()
    assert len(heartbeats) == 4
