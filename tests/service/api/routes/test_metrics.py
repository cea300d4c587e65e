"""GET /metrics: what Prometheus reads, and that no label grows without bound."""

from collections.abc import Callable

import httpx
import numpy as np
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from core.db.database import Database
from core.db.tables import Checkpoint, Job, Model, Worker
from core.repositories import workers
from core.repositories.jobs import Claim
from core.settings import Settings
from tests.conftest import DIGIT_FILES, NOW, running
from tests.service.api.routes.test_predict import BAD, SEVEN, parts, png

Published = Callable[..., Model]
Samples = dict[str, float]


async def scrape(http: httpx.AsyncClient) -> Samples:
    """Return every sample by name and labels, as Prometheus writes it."""
    answer = await http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


async def test_requests_are_counted_by_the_routes_template(http: httpx.AsyncClient) -> None:
    for job_id in ("job_a", "job_b", "job_c"):
        await http.get(f"/jobs/{job_id}")
    samples = await scrape(http)
    assert samples["tuneserve_requests_total{method=GET,route=/jobs/{job_id},status=404}"] == 3
    assert samples["tuneserve_request_seconds_count{method=GET,route=/jobs/{job_id}}"] == 3


async def test_what_a_stranger_makes_up_makes_no_new_series(http: httpx.AsyncClient) -> None:
    for number in range(20):
        await http.request(f"VERB{number}", f"/nothing/{number}")
        await http.request(f"VERB{number}", "/jobs")
    counted = [name for name in await scrape(http) if name.startswith("tuneserve_requests_total")]
    assert sorted(counted) == [
        "tuneserve_requests_total{method=other,route=/jobs,status=405}",
        "tuneserve_requests_total{method=other,route=none,status=404}",
    ]


async def test_an_error_of_ours_is_counted_as_one(settings: Settings, db: Database) -> None:
    async with running(settings, raise_errors=False) as http:
        with db.write() as session:
            session.execute(text("ALTER TABLE events RENAME TO away"))
        assert (await http.post("/jobs", json={})).status_code == 500
        samples = await scrape(http)
    assert samples["tuneserve_requests_total{method=POST,route=/jobs,status=500}"] == 1


async def test_images_and_batches_are_counted(settings: Settings, published: Published) -> None:
    model, blank = published(), png(Image.fromarray(np.full((90, 90), 255, np.uint8)))
    async with running(settings) as http:
        await http.post("/predict", files=parts(SEVEN, DIGIT_FILES[3].read_bytes(), blank, BAD))
        samples = await scrape(http)
    outcomes = {
        kind: samples[f"tuneserve_predict_images_total{{model=digits,outcome={kind}}}"] for kind in ("read", "blank")
    }
    assert outcomes == {"read": 2, "blank": 1}
    assert samples["tuneserve_predict_images_total{model=digits,outcome=refused}"] == 1
    assert (samples["tuneserve_batch_images_count{}"], samples["tuneserve_batch_images_sum{}"]) == (1, 2)
    assert samples[f"tuneserve_model_info{{engine=onnxruntime-cpu,id={model.id},name=digits,version=1}}"] == 1


async def test_two_services_in_a_process_count_apart(settings: Settings) -> None:
    async with running(settings) as one, running(settings) as other:
        await one.get("/livez")
        counted = "tuneserve_requests_total{method=GET,route=/livez,status=200}"
        assert (await scrape(one))[counted] == 1
        assert counted not in await scrape(other)


async def test_models_and_queue_are_told_as_they_are(settings: Settings, published: Published) -> None:
    older, _ = published(), published()
    async with running(settings) as http:
        before = await scrape(http)
        await http.post(f"/predict?model={older.id}", files=parts(SEVEN))
        after = await scrape(http)
    assert (before["tuneserve_models_loaded{}"], after["tuneserve_models_loaded{}"]) == (1, 2)
    assert (after["tuneserve_queue_images{}"], after["tuneserve_serving_refused{}"]) == (0, 0)


async def test_without_a_model_there_is_no_word_of_one(http: httpx.AsyncClient) -> None:
    samples = await scrape(http)
    assert not any(name.startswith("tuneserve_model_info") for name in samples)
    assert samples["tuneserve_models_loaded{}"] == 0


async def test_jobs_workers_and_checkpoints_come_from_the_database(
    http: httpx.AsyncClient, db: Database, claimed: Callable[..., Claim], enqueue: Callable[..., Job]
) -> None:
    claim = claimed()
    enqueue(NOW + 1)
    with db.write() as session:
        workers.register(session, Worker(id="worker_b", host="here", pid=1, started_at=NOW, heartbeat_at=NOW * 2))
        row = Checkpoint(id="c", job_id=claim.job_id, attempt=1, epoch=1, step=1, key="k", metrics={}, size_bytes=1)
        row.created_at = NOW
        session.add(row)
    samples = await scrape(http)
    counts = {status: samples[f"tuneserve_jobs{{status={status}}}"] for status in ("queued", "running", "failed")}
    assert counts == {"queued": 1, "running": 1, "failed": 0}
    assert samples["tuneserve_workers_alive{}"] >= 1
    assert samples["tuneserve_newest_checkpoint_timestamp_seconds{}"] == NOW


async def test_a_database_that_does_not_answer_leaves_the_rest(http: httpx.AsyncClient, db: Database) -> None:
    assert (await scrape(http))["tuneserve_database_up{}"] == 1
    with db.write() as session:
        session.execute(text("ALTER TABLE jobs RENAME TO away"))
    samples = await scrape(http)
    assert samples["tuneserve_database_up{}"] == 0
    assert samples["tuneserve_models_loaded{}"] == 0
    assert not any(name.startswith("tuneserve_jobs") for name in samples)
