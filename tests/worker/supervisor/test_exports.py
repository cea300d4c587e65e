"""Exports: a worker makes a model's file on request.

It concerns core.repositories.exports, worker.supervisor.export_work and GET /models/{name}/content.
"""

import asyncio
import signal
from collections.abc import Callable

import httpx
import pytest

from core.artifacts.model_files import TORCH_EXPORT
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Model, Worker
from core.repositories import exports, workers
from core.settings import Settings
from tests.conftest import NOW
from tests.support.fakes import FakeProcess
from worker.processes.launcher import Process
from worker.processes.stop_event import Stop
from worker.supervisor.export_work import EXPORT_TIMEOUT_S, ExportClaim, ExportWork
from worker.supervisor.process_slot import ProcessSlot

Published = Callable[..., Model]
WORKERS = ("worker_1", "worker_2")
KILLED = -signal.SIGKILL
PROGRAM = "content?format=torch_export"


class Setting:
    """A slot with a moved clock and a requested export.

    The export is a model's program.
    """

    def __init__(self, settings: Settings, db: Database, model: Model) -> None:
        self.now = NOW
        self.db = db
        self.settings = settings
        self.model = model
        self.stop = Stop()
        self.requested: list[str] = []
        self.request()
        with db.write() as session:
            for name in WORKERS:
                workers.register(session, Worker(id=name, host="here", pid=1, started_at=NOW, heartbeat_at=NOW))

    def request(self) -> None:
        with self.db.write() as session:
            exports.request(session, self.model.id, NOW)

    def slot(self, *processes: Process, worker: str = WORKERS[0]) -> ProcessSlot[ExportClaim]:
        left = iter(processes)

        def launch(model_id: str, settings: Settings) -> Process:
            self.requested.append(model_id)
            return next(left)

        work = ExportWork(self.settings, self.db, worker, self.clock, self.clock, launch)
        return ProcessSlot(work, self.stop, self.clock, self.settings.poll_s)

    def clock(self) -> float:
        return self.now

    def tend(self, slot: ProcessSlot[ExportClaim], times: int) -> None:
        for _ in range(times):
            slot.tend()
            self.now += self.settings.poll_s

    def made(self) -> None:
        with self.db.write() as session:
            exports.succeed(session, self.model.id)

    @property
    def standing(self) -> tuple[str, str | None]:
        with self.db.read() as session:
            export = exports.get(session, self.model.id)
            return export.status, export.error


@pytest.fixture
def it(settings: Settings, db: Database, published: Published) -> Setting:
    return Setting(settings, db, published())


def test_what_is_requested_is_made_once(it: Setting) -> None:
    slot = it.slot(FakeProcess(0, alive=2, on_look=it.made))
    it.request()
    it.tend(slot, 9)
    assert (it.requested, it.standing) == ([it.model.id], ("succeeded", None))


def test_after_three_deaths_it_has_failed_and_may_be_asked_for_anew(it: Setting) -> None:
    slot = it.slot(*(FakeProcess(KILLED) for _ in range(3)), FakeProcess(0, on_look=it.made))
    it.tend(slot, 9)
    assert (len(it.requested), it.standing) == (3, ("failed", "its process ended with -9"))
    it.request()
    it.tend(slot, 3)
    assert it.standing == ("succeeded", None)


def test_one_that_hangs_is_killed(it: Setting) -> None:
    process = FakeProcess(0, alive=99)
    slot = it.slot(process, FakeProcess(0, on_look=it.made))
    it.tend(slot, 1)
    it.now += EXPORT_TIMEOUT_S
    it.tend(slot, 5)
    assert (process.signals, it.standing[0]) == ([signal.SIGKILL], "succeeded")


def test_a_worker_that_stops_leaves_the_request_to_the_next(it: Setting) -> None:
    process = FakeProcess(0, alive=99)
    slot = it.slot(process)
    it.tend(slot, 2)
    it.stop.set()
    it.tend(slot, 2)
    assert (process.signals, it.standing) == ([signal.SIGKILL], ("queued", None))


def test_of_two_workers_one_makes_it_and_the_other_once_that_one_is_dead_or_stops(it: Setting, db: Database) -> None:
    first, second = (
        it.slot(FakeProcess(0, alive=99), FakeProcess(0, alive=99)),
        it.slot(FakeProcess(0, alive=99), worker=WORKERS[1]),
    )
    it.tend(first, 2)
    it.tend(second, 2)
    assert len(it.requested) == 1
    with db.write() as session:
        workers.unregister(session, WORKERS[0])
    it.tend(second, 2)
    assert len(it.requested) == 2
    second.give_back()
    it.tend(it.slot(FakeProcess(0, alive=99)), 1)
    assert len(it.requested) == 3


def test_its_own_words_about_a_failure_stand(it: Setting, db: Database) -> None:
    def say() -> None:
        with db.write() as session:
            exports.fail(session, it.model.id, "no probes")

    it.tend(it.slot(FakeProcess(1, on_look=say)), 5)
    assert it.standing == ("failed", "no probes")


# -- over HTTP


@pytest.fixture
def worker(db: Database) -> None:
    """Register a worker that is alive."""
    with db.write() as session:
        workers.register(session, Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=4e9))


@pytest.mark.usefixtures("worker")
async def test_whoever_asks_waits_until_it_is_made(http: httpx.AsyncClient, it: Setting, store: LocalStore) -> None:
    asking = asyncio.create_task(http.get(f"/models/digits@latest/{PROGRAM}"))
    await asyncio.sleep(0.3)
    store.put(f"{it.model.key}/{TORCH_EXPORT}", b"a program")
    it.made()
    answer = await asking
    assert (answer.status_code, answer.content) == (200, b"a program")
    assert f"{it.model.id}.pt2" in answer.headers["content-disposition"]


@pytest.mark.usefixtures("worker")
async def test_why_it_cannot_be_made_is_told(http: httpx.AsyncClient, it: Setting, db: Database) -> None:
    asking = asyncio.create_task(http.get(f"/models/digits@latest/{PROGRAM}"))
    await asyncio.sleep(0.3)
    with db.write() as session:
        exports.fail(session, it.model.id, "no probes")
    answer = await asking
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "no probes" in answer.json()["detail"]


@pytest.mark.usefixtures("worker")
async def test_nobody_waits_for_ever(
    http: httpx.AsyncClient, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    published()
    monkeypatch.setattr("service.api.routes.models.MAKING_S", 0.0)
    answer = await http.get(f"/models/digits@latest/{PROGRAM}")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert "try again later" in answer.json()["detail"]


async def test_without_a_worker_nobody_waits(http: httpx.AsyncClient, published: Published) -> None:
    published()
    answer = await http.get(f"/models/digits@latest/{PROGRAM}")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert "python -m worker" in answer.json()["detail"]
