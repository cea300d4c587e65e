"""worker.supervisor.process_slot: a batch's fate, whatever becomes of its process.

The batch runs beside a worker's job.
"""

import errno
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

import worker.supervisor.queued_work
from core.db.database import Database
from core.db.tables import Batch, BatchStatus, Worker
from core.repositories import batch_predictions, workers
from core.repositories.batch_predictions import Claim
from core.settings import Settings
from tests.conftest import NOW
from tests.support.batchfiles import OPTIONS
from tests.support.fakes import FakeLauncher, FakeProcess
from worker.processes.launcher import Process
from worker.processes.stop_event import Stop
from worker.supervisor.loop import WorkerLoop
from worker.supervisor.process_slot import ProcessSlot
from worker.supervisor.queued_work import QueuedWork, batch_predictions_of

Slot = ProcessSlot[Claim]
BATCH, WORKER = "batch_1", "worker_a"
KILLED = -signal.SIGKILL


class Setting:
    """A slot of a registered worker with a waiting batch.

    Its clock is moved.
    """

    def __init__(self, settings: Settings, db: Database) -> None:
        self.now = NOW
        self.db = db
        self.settings = settings
        self.stop = Stop()
        self.claims: list[Claim] = []
        with db.write() as session:
            for worker in (WORKER, "worker_b"):
                workers.register(session, Worker(id=worker, host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
            batch_predictions.enqueue(session, BATCH, OPTIONS, 10, NOW, 9)

    def slot(self, *processes: Process) -> Slot:
        left = iter(processes)

        def launch(claim: Claim, settings: Settings) -> Process:
            self.claims.append(claim)
            return next(left)

        return self.slot_of(launch)

    def slot_of(self, launch: Callable[[Claim, Settings], Process]) -> Slot:
        kind = replace(batch_predictions_of(self.settings), start=launch)
        work = QueuedWork(kind, self.settings, self.db, WORKER, self.clock)
        return ProcessSlot(work, self.stop, self.clock, self.settings.poll_s)

    def clock(self) -> float:
        return self.now

    def tend(self, slot: Slot, times: int) -> None:
        for _ in range(times):
            slot.tend()
            self.now += self.settings.poll_s

    @property
    def batch(self) -> Batch:
        with self.db.read() as session:
            return batch_predictions.get(session, BATCH)

    def do(self, what: Callable[..., object], *arguments: object) -> Callable[[], None]:
        def act() -> None:
            with self.db.write() as session:
                what(session, *arguments)

        return act


@pytest.fixture
def it(settings: Settings, db: Database) -> Setting:
    return Setting(settings, db)


def once(act: Callable[[], None]) -> Callable[[], None]:
    left: Sequence[Callable[[], None]] = [act]
    waiting = iter(left)
    return lambda: next(waiting, lambda: None)()


def test_a_batch_that_waits_is_started_and_no_second_one_beside_it(it: Setting) -> None:
    it.do(batch_predictions.enqueue, "batch_2", OPTIONS, 1, NOW + 1, 9)()
    it.tend(it.slot(FakeProcess(alive=99)), 5)
    assert it.claims == [Claim(BATCH, 1)]
    assert it.batch.status is BatchStatus.RUNNING


def test_the_next_one_starts_when_the_first_has_ended(it: Setting) -> None:
    it.do(batch_predictions.enqueue, "batch_2", OPTIONS, 1, NOW + 1, 9)()
    first = FakeProcess(alive=1, on_look=once(it.do(batch_predictions.succeed, Claim(BATCH, 1), NOW)))
    it.tend(it.slot(first, FakeProcess(alive=99)), 5)
    assert it.claims == [Claim(BATCH, 1), Claim("batch_2", 1)]
    assert (it.batch.status, it.batch.error) == (BatchStatus.SUCCEEDED, None)


def test_an_idle_slot_looks_no_oftener_than_poll_s(it: Setting) -> None:
    it.do(batch_predictions.cancel, BATCH, NOW)()
    slot = it.slot(FakeProcess(alive=99))
    slot.tend()
    it.do(batch_predictions.enqueue, "batch_2", OPTIONS, 1, NOW + 1, 9)()
    slot.tend()
    assert it.claims == []
    it.now += it.settings.poll_s
    slot.tend()
    assert it.claims == [Claim("batch_2", 1)]


@pytest.mark.parametrize(("code", "reason"), [(KILLED, "killed"), (-signal.SIGSEGV, "killed"), (1, "internal")])
def test_a_process_that_died_is_followed_by_another_until_the_fourth_death(it: Setting, code: int, reason: str) -> None:
    it.tend(it.slot(*[FakeProcess(code) for _ in range(4)]), 12)
    assert it.claims == [Claim(BATCH, attempt) for attempt in (1, 2, 3, 4)]
    error = it.batch.error
    assert error is not None
    assert (it.batch.status, error["code"]) == (BatchStatus.FAILED, reason)


def test_a_process_that_says_nothing_has_died_even_with_exit_code_0(it: Setting) -> None:
    it.tend(it.slot(FakeProcess(0), FakeProcess(alive=99)), 2)
    assert it.batch.error is not None
    assert it.batch.error["code"] == "internal"


def test_a_process_that_cannot_even_be_started_counts_as_a_death(it: Setting) -> None:
    it.tend(it.slot_of(no_space), 9)
    error = it.batch.error
    assert error is not None
    assert (it.batch.status, it.batch.attempt, error["code"]) == (BatchStatus.FAILED, 4, "disk_full")


def test_a_batch_that_was_claimed_without_the_slots_knowledge_is_claimed_again(it: Setting) -> None:
    it.do(batch_predictions.claim, WORKER, NOW)()  # committed, and the answer lost
    it.tend(it.slot(FakeProcess(alive=99)), 2)
    assert it.claims == [Claim(BATCH, 2)]


def no_space(claim: Claim, settings: Settings) -> Process:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_cancelled_batch_loses_its_process(it: Setting) -> None:
    process = FakeProcess(alive=99, on_look=once(it.do(batch_predictions.cancel, BATCH, NOW)))
    it.tend(it.slot(process), 4)
    assert process.signals == [signal.SIGKILL]
    assert (it.batch.status, it.batch.error) == (BatchStatus.CANCELLED, None)


def test_a_deleted_batch_loses_its_process(it: Setting) -> None:
    def delete() -> None:
        for act in (
            it.do(batch_predictions.cancel, BATCH, NOW),
            it.do(batch_predictions.delete_files, BATCH, NOW),
            it.do(batch_predictions.delete, BATCH),
        ):
            act()

    process = FakeProcess(alive=99, on_look=once(delete))
    it.tend(it.slot(process), 4)
    assert process.signals == [signal.SIGKILL]


def test_a_batch_that_another_worker_took_is_let_go_and_left_alone(it: Setting) -> None:
    def take() -> None:
        it.do(batch_predictions.release, Claim(BATCH, 1))()
        it.do(batch_predictions.claim, "worker_b", NOW)()

    process = FakeProcess(alive=99, on_look=once(take))
    it.tend(it.slot(process), 4)
    assert process.signals == [signal.SIGKILL]
    assert (it.batch.status, it.batch.worker_id, it.batch.attempt) == (BatchStatus.RUNNING, "worker_b", 2)


def test_a_process_that_hangs_is_killed(it: Setting) -> None:
    process = FakeProcess(alive=99)
    slot = it.slot(process)
    slot.tend()
    it.now += it.settings.stall_timeout_s
    slot.tend()
    assert process.signals == []
    it.now += 1
    slot.tend()
    assert process.signals == [signal.SIGKILL]


def test_a_batch_is_not_killed_because_the_machine_slept(it: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    process = FakeProcess(alive=99)
    monkeypatch.setattr(worker.supervisor.queued_work, "start_batch", lambda _claim, _settings: process)
    monotonic_s = 0.0
    loop = WorkerLoop(it.settings, it.db, FakeLauncher([]), it.clock, monotonic=lambda: monotonic_s)
    loop._register()
    loop.step()
    assert it.batch.status is BatchStatus.RUNNING
    it.now += 3600
    loop.step()
    assert process.signals == []
    for _ in range(2):
        monotonic_s += it.settings.lease_s / 2  # time enough for a sign of life, and none came
        it.now += it.settings.lease_s / 2
        loop.step()
    assert process.signals == [signal.SIGKILL]


def test_a_worker_that_stops_hands_its_batch_back_at_once(it: Setting) -> None:
    process = FakeProcess(alive=99)
    slot = it.slot(process)
    slot.tend()
    it.stop.set()
    it.tend(slot, 3)
    assert process.signals == [signal.SIGKILL]
    assert (it.batch.status, it.batch.error) == (BatchStatus.QUEUED, None)
    assert it.claims == [Claim(BATCH, 1)]


def test_the_batch_of_a_lost_worker_is_taken_over(it: Setting) -> None:
    it.do(batch_predictions.claim, "worker_b", NOW)()
    it.now += it.settings.lease_s + 1
    loop = WorkerLoop(it.settings, it.db, FakeLauncher([]), lambda: it.now, monotonic=lambda: it.now)
    loop._heartbeat()
    it.tend(it.slot(FakeProcess(alive=99)), 1)
    assert it.claims == [Claim(BATCH, 2)]
