"""worker.supervisor.queued_work: a check-up has an idle worker, and never a job's time."""

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from core.checkups import queue
from core.checkups.queue import Claim
from core.db.database import Database
from core.db.tables import Checkup, Worker
from core.repositories import datasets, workers
from core.settings import Settings
from tests.conftest import NOW
from tests.support.fakes import FakeLauncher, FakeProcess
from worker.processes.launcher import Process
from worker.processes.stop_event import Stop
from worker.supervisor.loop import WorkerLoop
from worker.supervisor.process_slot import ProcessSlot
from worker.supervisor.queued_work import CHECKUP_STALL_S, QueuedWork, checkups_of

KILLED = -signal.SIGKILL


class Setting:
    """A slot with a moved clock and a check-up that waits."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self.now, self.db, self.settings = NOW, db, settings
        self.stop = Stop()
        self.claims: list[Claim] = []
        with db.write() as session:
            datasets.lock(session, "pets")
            workers.register(session, Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
        self.request()

    def request(self, version: int = 1) -> None:
        with self.db.write() as session:
            queue.request(session, "pets", version, NOW)

    def slot(self, *processes: Process, settings: Settings | None = None) -> ProcessSlot[Claim]:
        left = iter(processes)

        def launch(claim: Claim, settings: Settings) -> Process:
            self.claims.append(claim)
            return next(left)

        settings = settings or self.settings
        kind = replace(checkups_of(settings), start=launch)
        work = QueuedWork(kind, settings, self.db, "worker_a", self.clock)
        return ProcessSlot(work, self.stop, self.clock, self.settings.poll_s)

    def clock(self) -> float:
        return self.now

    def tend(self, slot: ProcessSlot[Claim], times: int) -> None:
        for _ in range(times):
            slot.tend()
            self.now += self.settings.poll_s

    def succeed(self) -> None:
        with self.db.write() as session:
            queue.succeed(session, self.claims[-1], {}, NOW)

    @property
    def row(self) -> Checkup:
        with self.db.read() as session:
            row = queue.find(session, "pets")
        assert row is not None
        return row


@pytest.fixture
def it(settings: Settings, db: Database) -> Setting:
    return Setting(settings, db)


def once(act: Callable[[], None]) -> Callable[[], None]:
    """Act at the first look alone."""
    left = [act]
    return lambda: left.pop()() if left else None


def test_a_check_up_that_succeeds_is_made_once(it: Setting) -> None:
    it.tend(it.slot(FakeProcess(0, on_look=once(it.succeed))), 9)
    assert (it.claims, it.row.status, it.row.deaths) == ([Claim("pets", 1, 1)], "done", 0)


def test_one_whose_process_dies_thrice_has_failed_and_nothing_else(it: Setting) -> None:
    it.tend(it.slot(*(FakeProcess(KILLED) for _ in range(3))), 9)
    assert (len(it.claims), it.row.status) == (3, "failed")
    assert it.row.error == "Its process was killed by SIGKILL. See TUNESERVE_DATA_DIR/logs/checkups.log."


def test_one_of_an_older_version_or_without_a_heartbeat_is_killed(it: Setting) -> None:
    old, silent = FakeProcess(alive=99), FakeProcess(alive=99)
    slot = it.slot(old, silent, FakeProcess(0, on_look=lambda: None))
    it.tend(slot, 2)
    assert old.signals == []
    it.request(version=2)
    it.tend(slot, 3)
    assert (old.signals, it.row.deaths) == ([signal.SIGKILL], 0)
    it.now += CHECKUP_STALL_S
    it.tend(slot, 1)
    assert silent.signals == [signal.SIGKILL]


def test_switched_off_none_is_started(it: Setting) -> None:
    off = it.settings.model_copy(update={"max_checkup_images": 0})
    it.tend(it.slot(settings=off), 3)
    assert (it.claims, it.row.status) == ([], "waiting")


def test_a_job_to_train_ends_a_check_up_at_once_which_then_goes_on(
    it: Setting, settings: Settings, db: Database, enqueue: Callable[..., object]
) -> None:
    seen: list[str] = []
    first = FakeProcess(alive=99)
    trainer = FakeProcess(KILLED, alive=2, on_look=lambda: seen.append(it.row.status))
    loop = WorkerLoop(settings, db, FakeLauncher([trainer]), it.clock, monotonic=it.clock)
    loop._checkups = it.slot(first, FakeProcess(0, on_look=once(it.succeed)))
    with db.write() as session:
        workers.register(session, Worker(id=loop.id, host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
    loop.step()
    assert (it.row.status, first.signals) == ("running", [])
    enqueue(max_attempts=1)
    loop.step()
    assert (first.signals, set(seen), it.row.deaths) == ([signal.SIGKILL], {"waiting"}, 0)
    for _ in range(3):
        it.now += settings.poll_s
        loop.step()
    assert (it.row.status, it.row.attempt) == ("done", 2)
