"""create_app(settings): the composition root. Everything the service is made of is built here, and only here."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from core import tracing
from core.artifacts.store import LocalStore
from core.db.clocks import ClockDriftGuard, shared_now
from core.db.database import Database
from core.repositories import batch_predictions, idempotency, jobs
from core.settings import Settings
from service.api.dependencies import State
from service.api.open_inference.statistics import Statistics
from service.api.routes import (
    aliases,
    catalog,
    datasets,
    health,
    models,
    open_inference,
    predict,
    ui,
    webhook_deliveries,
)
from service.api.routes import api_keys as keys_routes
from service.api.routes import batch_predictions as predictions
from service.api.routes import jobs as jobs_routes
from service.api.routes import metrics as metrics_routes
from service.api.routes import uploads as uploads_routes
from service.api.routes.ui import PageFiles
from service.background.supervision import for_ever
from service.inference.batcher import Batcher
from service.inference.model_cache import ModelCache
from service.inference.model_loader import loader
from service.inference.model_reloader import Reloader
from service.middleware.load_shedding import Shed
from service.middleware.request_id import BodyLimit, RequestId
from service.observability.health_checks import DatabaseCheck, StoreCheck
from service.observability.metrics import Metrics, Observe
from service.security.allowed_hosts import Hosts
from service.security.api_keys import Access
from service.security.authentication import Gate
from service.security.rate_limit import RateLimit
from service.uploads.resumable import Uploads
from service.web import problems
from service.web.security_headers import SecurityHeaders
from service.web.shutdown import told_by_signals

if TYPE_CHECKING:
    from service.background.webhook_sender import Courier
    from service.observability.tracing import Tracing
    from service.security.outbound_client import Outbound

log = logging.getLogger(__name__)
DECODER_THREADS = 4
FORGET_EVERY_S = 600.0  # answers to requests with an Idempotency-Key
DESCRIPTION = "POST a training job; minutes later, ask the new model. Every example below works when pasted."


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application. Nothing is opened before it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        db = Database(settings.resolved_database_url)
        await run_in_threadpool(db.migrate)
        store = LocalStore(settings.data_dir)
        with (
            ThreadPoolExecutor(settings.resolved_predict_lanes, "device") as device,
            ThreadPoolExecutor(DECODER_THREADS, "decode") as decoders,
            ThreadPoolExecutor(2, "load") as loading,
            told_by_signals() as stopping,
        ):
            load, batch = loader(settings, store), settings.predict_batch
            cache = ModelCache(load, loading, settings.predict_memory_bytes, batch, metrics.model_load_failures.inc)
            reloader = Reloader(db, cache, settings.reload_poll_s)
            batcher = Batcher(device, batch, settings.predict_queue, metrics.batch_images.observe, traces)
            app.state.service = State(
                settings,
                db,
                store,
                cache,
                reloader,
                batcher,
                decoders,
                metrics,
                access,
                DatabaseCheck(db, settings.lease_s),
                StoreCheck(store),
                Statistics(),
                stopping,
            )
            await access.refresh(db)
            if settings.fetch_urls:
                app.state.outbound = await run_in_threadpool(_outbound)
            await reloader.check()  # a model that is there already answers the first request
            tasks = [
                asyncio.create_task(for_ever(run))
                for run in (
                    reloader.run,
                    batcher.run,
                    partial(access.run, db),
                    partial(metrics_routes.keep_looking, app.state.service),
                    partial(_look_after_jobs, db, settings),
                    partial(_deliver_webhooks, db, settings),
                )
            ]
            try:
                yield
            finally:
                cache.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        if traces:
            await run_in_threadpool(traces.close)
        db.close()

    traces = _traces() if tracing.is_on() else None
    metrics = Metrics()
    access = Access(settings)
    rate_limit = RateLimit(settings.rate_limit_per_s) if settings.rate_limit_per_s else None

    app = FastAPIOffline(
        title="tuneserve",
        version=version("tuneserve"),
        description=DESCRIPTION,
        lifespan=lifespan,
        # service.observability.tracing and service.observability.metrics tell more
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    problems.install(app)
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_body_bytes,
        elsewhere={
            "/batches": settings.max_batch_bytes,
            "/datasets": settings.max_dataset_bytes,
            "/uploads": settings.max_dataset_bytes,
        },
    )
    app.add_middleware(Gate, access=access, hosts=Hosts(settings), rate_limit=rate_limit)
    if settings.cors_origins:
        _open_to_pages_of(app, settings.cors_origins)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestId)
    app.add_middleware(Observe, metrics=metrics)
    if traces:
        app.add_middleware(traces.middleware)
    app.add_middleware(
        Shed,
        is_full=lambda: app.state.service.batcher.is_full,
        on_refused=lambda: metrics.requests.labels("/predict", "POST", 429).inc(),
    )
    for routes in (
        predict,  # first: the routes are tried in this order
        jobs_routes,
        webhook_deliveries,
        aliases,
        models,
        predictions,
        open_inference,
        catalog,
        datasets,
        uploads_routes,
        keys_routes,
        health,
        metrics_routes,
        ui,
    ):
        app.router.routes.extend(routes.router.routes)  # include_router would build them anew: 0.2 s for each app
    app.router.routes.extend(open_inference.probes.routes)
    app.mount("/page", PageFiles())
    return app


def _open_to_pages_of(app: FastAPI, origins: tuple[str, ...]) -> None:
    told = ["Location", "Retry-After", "X-Request-Id", "Idempotent-Replayed"]
    app.add_middleware(
        CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"], expose_headers=told
    )


def _traces() -> "Tracing":
    from service.observability.tracing import Tracing

    return Tracing(tracing.provider("service"))


async def _look_after_jobs(db: Database, settings: Settings) -> None:
    """Without this, the job of the last worker that dies would stay "running" until another one starts."""
    forget_at, drift_guard = 0.0, ClockDriftGuard(settings.lease_s)
    while True:
        await asyncio.sleep(settings.heartbeat_interval_s)
        if drift_guard.is_steady():
            await run_in_threadpool(_requeue_lost, db, settings.lease_s)
        if time.monotonic() >= forget_at:
            await run_in_threadpool(_forget_answers, db)
            await run_in_threadpool(Uploads(settings).sweep, time.time())
            forget_at = time.monotonic() + FORGET_EVERY_S


def _requeue_lost(db: Database, lease_s: float) -> None:
    with db.write() as session:
        now = shared_now(session, time.time())
        for requeue_lost in (jobs.requeue_lost, batch_predictions.requeue_lost):
            for lost_id in requeue_lost(session, now, lease_s):
                log.warning("%s had lost its worker", lost_id)


def _forget_answers(db: Database) -> None:
    with db.write() as session:
        idempotency.forget(session, time.time())


async def _deliver_webhooks(db: Database, settings: Settings) -> None:
    courier = await run_in_threadpool(_courier, db, settings)
    await courier.run()


def _courier(db: Database, settings: Settings) -> "Courier":
    from service.background.webhook_sender import Courier

    return Courier(db, _outbound(settings.webhook_allow_private))


def _outbound(allow_private: bool = False) -> "Outbound":
    # httpx and its certificates take a fifth of a second: be ready first
    from service.security.outbound_client import Outbound

    return Outbound(allow_private)
