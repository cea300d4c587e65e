"""GET /livez and /readyz: probes that tell the truth."""

import time
from collections.abc import Callable

import httpx
import numpy as np

from core import jobs
from core.checkpoints import from_tensors
from core.db import Database
from core.settings import Settings
from core.tables import Model, Worker
from tests.conftest import running
from tests.fakes import answered

Published = Callable[..., Model]


def probes(right: bool) -> dict[str, bytes]:
    """Of a black image: the graph of the tests finds each digit as likely as any other."""
    wanted = np.full((1, 10), 0.1, np.float32) if right else np.eye(1, 10, dtype=np.float32)
    images = np.zeros((1, 28, 28, 1), np.uint8)
    return {"probes.safetensors": from_tensors({"images": images, "probabilities": wanted})}


def start_worker(db: Database, beat_at: float) -> None:
    with db.write() as session:
        jobs.register(session, Worker(id="worker_a", host="here", pid=1, started_at=beat_at, beat_at=beat_at))


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
    assert answer.json()["checks"]["model"]["self_test"].startswith("none: ")
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
        broken = published(onnx=b"this is no graph")

        async def told() -> bool:
            return bool((await http.get("/readyz")).json()["checks"]["target"].get("model_id") == broken.id)

        await answered(told)
        answer = await http.get("/readyz")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["failing"]) == ("degraded", ["target"])
    assert answer.json()["checks"]["model"]["ok"]
    assert answer.json()["checks"]["model"]["model_id"] == old.id
    assert broken.id in answer.json()["checks"]["target"]["detail"]


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
        predicted = (await http.post("/predict?normalize=none", json=image)).json()
    assert answer.json()["failing"] == ["target"]
    assert "differ by up to" in answer.json()["checks"]["target"]["detail"]
    assert predicted["model"]["id"] == old.id
    assert "tuneserve_serving_refused 1.0" in scraped
    assert "tuneserve_model_load_failures_total 1.0" in scraped


async def test_with_only_a_refused_model_nothing_is_ready_and_the_reason_is_told(
    settings: Settings, published: Published
) -> None:
    broken = published(onnx=b"this is no graph")
    async with running(settings) as http:
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    assert answer.json()["failing"] == ["model", "target", "worker"]
    assert broken.id in answer.json()["checks"]["model"]["detail"]
