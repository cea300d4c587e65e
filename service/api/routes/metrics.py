"""GET /metrics: counters and current values for Prometheus."""

import asyncio
import time
from collections.abc import Iterator

from fastapi import APIRouter, Depends, Response
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy.exc import SQLAlchemyError

from core.db.tables import JobStatus, Phase
from core.errors import NotReady
from core.repositories import checkpoints, jobs, workers
from core.scopes import Scope
from service.api.dependencies import Service, State
from service.security.api_keys import RequireScope
from service.web.problems import DESCRIBED

MAX_JOBS = 100  # that run at the same time
LOOK_S = 1.0  # maximum age of what one process reports of the others' queue and models
router = APIRouter(responses=DESCRIBED, tags=["health"], dependencies=[Depends(RequireScope(Scope.ADMIN))])


@router.get("/metrics", summary="Get metrics for Prometheus", response_class=Response)
def metrics(service: Service) -> Response:
    """Return the metrics of all processes of the service.

    Counters, queues and loaded models are summed over the processes; the serving model is that of the responding
    process. Jobs and workers come from the database and are omitted while it is down.
    """
    look(service)
    counted, now = generate_latest(service.metrics.registry), generate_latest(_Now(service))
    return Response(counted + now, media_type=CONTENT_TYPE_PLAIN_0_0_4)


def look(service: State) -> None:
    """Set the gauges to this process's current state."""
    counted = service.metrics
    counted.queue_images.set(service.pipeline.batcher.waiting)
    counted.models_loaded.set(service.cache.count)
    counted.serving_refused.set(bool(service.reloader.refusals))


async def keep_looking(service: State) -> None:
    """Refresh the gauges periodically, for scrapes that other processes answer."""
    while True:
        look(service)
        await asyncio.sleep(LOOK_S)


class _Now:
    """A collector of the current values, for prometheus_client."""

    def __init__(self, service: State) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        yield from _serving(self._service)
        try:
            found = list(_training(self._service))
        except SQLAlchemyError:
            found = []
        yield GaugeMetricFamily("tuneserve_database_up", "1: the database answers.", value=bool(found))
        yield from found


def _serving(service: State) -> Iterator[Metric]:
    try:
        predictor = service.reloader.current
    except NotReady:
        return
    about = {
        "name": predictor.model.name,
        "id": predictor.model.id,
        "version": str(predictor.model.version),
        "engine": predictor.engine,
    }
    yield InfoMetricFamily("tuneserve_model", "The model that answers where none is named.", value=about)


def _training(service: State) -> Iterator[Metric]:
    with service.db.read() as session:
        statuses = jobs.count_by_status(session)
        running, _ = jobs.page(session, JobStatus.RUNNING, None, None, MAX_JOBS)
        alive = workers.count_live(session, time.time(), service.settings.lease_s)
        checkpoint = checkpoints.newest_at(session)
    by_status = GaugeMetricFamily("tuneserve_jobs", "Jobs by status.", labels=["status"])
    for status, count in statuses.items():
        by_status.add_metric([status], count)
    yield by_status
    speed = sum(job.timing.get("images_per_s", 0) for job in running if job.phase is Phase.TRAINING)
    description = "Images a second that the jobs in training take, together."
    yield GaugeMetricFamily("tuneserve_training_images_per_second", description, value=speed)
    yield GaugeMetricFamily("tuneserve_workers_alive", "Workers with a heartbeat within the lease.", value=alive)
    if checkpoint is not None:
        description = "When the newest checkpoint was written, in seconds since the epoch."
        yield GaugeMetricFamily("tuneserve_newest_checkpoint_timestamp_seconds", description, value=checkpoint)
