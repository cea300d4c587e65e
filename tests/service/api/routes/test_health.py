"""GET /livez and /readyz: probes that tell the truth."""

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from core.artifacts.manifest import from_tensors
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Model, Worker
from core.repositories import workers
from core.settings import Settings
from service.observability import health_checks
from service.observability.health_checks import StoreCheck
from service.uploads import disk_space
from tests.conftest import running
from tests.support.fakes import NO_GRAPH, answered

Published = Callable[..., Model]


def probes(right: bool) -> dict[str, bytes]:
    """Make the self-test samples of a black image.

    The graph of the tests finds each digit as likely as any other.
    """
    wanted = np.full((1, 10), 0.1, np.float32) if right else np.eye(1, 10, dtype=np.float32)
    images = np.zeros((1, 28, 28, 1), np.uint8)
    return {"self_test_samples.safetensors": from_tensors({"images": images, "probabilities": wanted})}


def start_worker(db: Database, heartbeat_at: float) -> None:
    with db.write() as session:
        workers.register(
            session, Worker(id="worker_a", host="here", pid=1, started_at=heartbeat_at, heartbeat_at=heartbeat_at)
        )


async def test_a_service_without_a_model_is_alive(http: httpx.AsyncClient) -> None:
    answer = await http.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_a_service_without_a_model_is_not_ready_and_says_why(http: httpx.AsyncClient) -> None:
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["status"] == "not ready"
    assert "model" in answer.json()["failing"]
    assert "POST /jobs" in answer.json()["checks"]["model"]["detail"]


async def test_with_a_model_and_a_worker_everything_is_ready(
    db: Database, settings: Settings, published: Published
) -> None:
    model = published()
    start_worker(db, time.time())
    async with running(settings) as http:
        answer = await http.get("/readyz")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["failing"]) == ("ready", [])
    assert answer.json()["checks"]["model"]["model_id"] == model.id
    assert answer.json()["checks"]["model"]["engine"] == "onnxruntime-cpu"
    assert answer.json()["checks"]["model"]["self_test"].startswith("passed: 1 probes")
    assert answer.json()["checks"]["target"] == {"ok": True}


async def test_a_silent_worker_degrades_but_predictions_go_on(
    db: Database, settings: Settings, published: Published
) -> None:
    published()
    start_worker(db, time.time() - 10 * settings.lease_s)
    async with running(settings) as http:
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["status"], answer.json()["failing"]) == (200, "degraded", ["worker"])
    assert answer.json()["checks"]["worker"]["live"] == 0


async def test_a_new_model_that_cannot_be_loaded_is_told_while_the_old_one_serves(
    db: Database, settings: Settings, published: Published
) -> None:
    old = published()
    start_worker(db, time.time())
    async with running(settings) as http:
        broken = published(onnx=NO_GRAPH)

        async def told() -> bool:
            return bool(
                (await http.get("/readyz")).json()["checks"]["target"].get("refused", [{}])[0].get("model_id")
                == broken.id
            )

        await answered(told)
        answer = await http.get("/readyz")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["failing"]) == ("degraded", ["target"])
    assert answer.json()["checks"]["model"]["ok"]
    assert answer.json()["checks"]["model"]["model_id"] == old.id
    (refused,) = answer.json()["checks"]["target"]["refused"]
    assert refused["name"] == "digits"
    assert broken.id in refused["detail"]


async def test_a_model_that_answers_its_probes_otherwise_is_refused_and_the_reason_is_told(
    db: Database, settings: Settings, published: Published
) -> None:
    old = published(more=probes(right=True))
    start_worker(db, time.time())
    async with running(settings) as http:
        assert (await http.get("/readyz")).json()["checks"]["model"]["self_test"].startswith("passed: 1 probes")
        published(more=probes(right=False))

        async def told() -> bool:
            return bool((await http.get("/readyz")).json()["checks"]["target"]["ok"] is False)

        await answered(told)
        answer = await http.get("/readyz")
        scraped = (await http.get("/metrics")).text
        image = {"images": [{"array": [[0, 9], [9, 0]]}]}
        predicted = (await http.post("/predict?preprocess=none", json=image)).json()
    assert answer.json()["failing"] == ["target"]
    assert "differ by up to" in answer.json()["checks"]["target"]["refused"][0]["detail"]
    assert predicted["model"]["id"] == old.id
    assert "tuneserve_serving_refused 1.0" in scraped
    assert "tuneserve_model_load_failures_total 1.0" in scraped


async def test_with_only_a_refused_model_nothing_is_ready_and_the_reason_is_told(
    settings: Settings, published: Published
) -> None:
    broken = published(onnx=NO_GRAPH)
    async with running(settings) as http:
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    assert answer.json()["failing"] == ["model", "target", "worker"]
    assert broken.id in answer.json()["checks"]["model"]["detail"]


async def test_a_locked_database_degrades_at_once(
    db: Database, settings: Settings, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    published()
    start_worker(db, time.time())
    monkeypatch.setattr(health_checks, "PATIENCE_S", 0.01)
    async with running(settings) as http:
        with db.write() as session:
            session.execute(text("SELECT 1"))  # others would wait for 30 s
            answer = await http.get("/readyz")
            again = await http.get("/readyz")
        assert (await http.get("/livez")).status_code == 200
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert "database" in answer.json()["failing"]
    for given in (answer, again):
        assert given.json()["checks"]["database"]["detail"].startswith("No answer for ")


async def test_a_disk_that_does_not_answer_degrades_and_takes_no_new_jobs(
    db: Database, settings: Settings, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    published()
    start_worker(db, time.time())

    def fail(_: Path) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(disk_space, "free_bytes", fail)
    async with running(settings) as http:
        answer = await http.get("/readyz")
        refused = await http.post("/jobs", json={})
    assert (answer.status_code, answer.json()["failing"]) == (200, ["disk"])
    assert "Input/output error" in answer.json()["checks"]["disk"]["detail"]
    assert (refused.status_code, refused.json()["code"]) == (503, "disk_full")


# -- the store and its disk


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorder(LocalStore):
    """The real store; it counts objects and can be held back."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.puts = 0
        self.entered = threading.Event()
        self.released = threading.Event()
        self.released.set()

    def put(self, key: str, data: bytes) -> None:
        self.puts += 1
        self.entered.set()
        assert self.released.wait(10)
        super().put(key, data)


@pytest.fixture
def recorder(settings: Settings) -> Recorder:
    return Recorder(settings.data_dir)


def test_the_store_is_written_and_read_and_left_as_it_was(recorder: Recorder, settings: Settings) -> None:
    assert StoreCheck(recorder).trouble() is None
    assert recorder.puts == 1
    assert [path for path in settings.data_dir.rglob("*") if path.is_file()] == []


def test_the_store_is_tried_every_ten_seconds_however_often_one_asks(recorder: Recorder) -> None:
    clock = Clock()
    check = StoreCheck(recorder, clock)
    puts = []
    for _ in range(5):
        check.trouble()
        puts.append(recorder.puts)
        clock.now += 4
    assert puts == [1, 1, 1, 2, 2]


def test_a_store_that_cannot_be_written_is_told_and_forgiven_when_it_can(settings: Settings) -> None:
    clock = Clock()
    check = StoreCheck(LocalStore(settings.data_dir), clock)
    settings.data_dir.parent.mkdir(parents=True, exist_ok=True)
    settings.data_dir.write_text("a file in the folder's place")
    assert "The store fails: " in (check.trouble() or "")
    settings.data_dir.unlink()
    assert check.trouble() is not None
    clock.now += 10
    assert check.trouble() is None


def test_a_store_that_gives_other_bytes_back_is_told(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStore, "put", lambda store, key, data: write_other(store, key))
    assert StoreCheck(recorder).trouble() == "The store gives back other bytes than it was given."


def write_other(store: LocalStore, key: str) -> None:
    path = store._path(key)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"other")


def test_a_store_that_hangs_holds_up_one_thread_alone(recorder: Recorder) -> None:
    clock = Clock()
    check = StoreCheck(recorder, clock)
    recorder.released.clear()
    stuck = threading.Thread(target=check.trouble)
    stuck.start()
    assert recorder.entered.wait(10)
    assert check.trouble() is None  # not known yet
    clock.now += 6
    assert check.trouble() == "The store has not answered for 6 s."
    recorder.released.set()
    stuck.join()
    assert check.trouble() is None
    assert recorder.puts == 1


async def test_a_store_that_fails_degrades_but_predictions_go_on(
    db: Database, settings: Settings, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    published()
    start_worker(db, time.time())
    async with running(settings) as http:
        shutil.rmtree(settings.data_dir / "health", ignore_errors=True)
        (settings.data_dir / "health").write_text("a file in the folder's place")
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["status"], answer.json()["failing"]) == (200, "degraded", ["store"])
    assert "The store fails" in answer.json()["checks"]["store"]["detail"]


async def test_no_probe_tells_an_address_or_a_path(
    settings: Settings, published: Published, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Probes tell no address and no path.

    Nobody needs a key for them.
    """
    published(onnx=NO_GRAPH)

    def fail(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception('connection to server at "10.1.2.3", port 5432 failed'))

    def missing(_: Path) -> int:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(settings.data_dir))

    async with running(settings) as http:
        (settings.data_dir / "health").write_text("a file in the folder's place")
        monkeypatch.setattr(Database, "write", fail)
        monkeypatch.setattr(Database, "read", fail)
        monkeypatch.setattr(disk_space, "free_bytes", missing)
        answer = await http.get("/readyz")
    assert answer.json()["failing"] == ["database", "store", "disk", "model", "target", "worker"]
    for secret in ("10.1.2.3", "5432", "SELECT", str(settings.data_dir)):
        assert secret not in answer.text
    assert "10.1.2.3" in caplog.text


async def test_a_full_disk_degrades_and_takes_no_new_jobs(
    db: Database, settings: Settings, published: Published
) -> None:
    published()
    start_worker(db, time.time())
    async with running(settings.model_copy(update={"min_free_bytes": 2**60})) as http:
        answer = await http.get("/readyz")
        refused = await http.post("/jobs", json={})
        assert (await http.get("/jobs")).json()["data"] == []
    assert (answer.status_code, answer.json()["failing"]) == (200, ["disk"])
    assert (refused.status_code, refused.json()["code"]) == (503, "disk_full")
    assert int(refused.headers["retry-after"]) > 0
    for detail in (answer.json()["checks"]["disk"]["detail"], refused.json()["detail"]):
        assert "MiB are free" in detail
        assert "TUNESERVE_MIN_FREE_BYTES" in detail
