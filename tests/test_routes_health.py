"""GET /livez and /readyz: probes that tell the truth."""

import time
from collections.abc import Callable

import httpx

from core import jobs
from core.db import Database
from core.settings import Settings
from core.tables import Model, Worker
from tests.conftest import running
from tests.fakes import answered

Published = Callable[..., Model]


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
    settings: Settings, published: Published
) -> None:
    old = published()
    async with running(settings) as http:
        broken = published(onnx=b"this is no graph")

        async def told() -> bool:
            return broken.id in (await http.get("/readyz")).json()["checks"]["model"].get("detail", "")

        await answered(told)
        answer = await http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"]["model"]["ok"]
    assert answer.json()["checks"]["model"]["model_id"] == old.id
