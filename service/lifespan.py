"""Open, run and close everything around the requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from core.artifacts.store import LocalStore
from core.db.database import Database
from core.settings import Settings
from service.api.dependencies import State
from service.api.listeners import Listeners
from service.api.open_inference.statistics import Statistics
from service.api.routes.metrics import keep_looking
from service.background.clean_up import clean_up
from service.background.maintenance import maintain
from service.background.supervision import supervised
from service.datasets.builder import Builder
from service.inference.batcher import Batcher
from service.inference.decode_pool import DecodePool
from service.inference.model_cache import ModelCache
from service.inference.model_loader import loader
from service.inference.model_reloader import ModelReloader
from service.inference.pipeline import Pipeline
from service.observability.health_checks import DatabaseCheck, StoreCheck
from service.observability.metrics import Metrics
from service.security.api_keys import ApiKeys
from service.uploads.spool import spooling
from service.web.connection_limits import LIMITS, ConnectionLimits
from service.web.shutdown import STOPPING

if TYPE_CHECKING:
    from service.background.webhook_sender import WebhookSender
    from service.observability.tracing import Tracing
    from service.security.outbound_client import OutboundClient

DECODER_THREADS = 4
LOADER_THREADS = 2

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


def lifespan(settings: Settings, metrics: Metrics, access: ApiKeys, traces: "Tracing | None") -> Lifespan:
    """Make the context in which an application answers; ``app.state.service`` is its State."""

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncExitStack() as closing:
            state = app.state.service = await _open(closing, settings, metrics, access, traces)
            await access.refresh(state.db)
            await state.reloader.check()  # a model that is there already answers the first request
            async with supervised(*_background(state)):
                try:
                    yield {STOPPING: state.stopping, LIMITS: ConnectionLimits.of(settings)}
                finally:
                    state.cache.close()

    return run


async def _open(
    closing: AsyncExitStack, settings: Settings, metrics: Metrics, access: ApiKeys, traces: "Tracing | None"
) -> State:
    """Open the database and thread pools and build the routes' state.

    ``closing`` undoes it.
    """
    db = Database(settings.resolved_database_url)
    closing.callback(db.close)
    await run_in_threadpool(db.migrate)
    if traces:
        closing.push_async_callback(run_in_threadpool, traces.close)
    device = closing.enter_context(ThreadPoolExecutor(settings.resolved_concurrent_batches, "device"))
    decoders = closing.enter_context(ThreadPoolExecutor(DECODER_THREADS, "decode"))
    pool = DecodePool(settings)
    closing.push_async_callback(pool.close)
    loading = closing.enter_context(ThreadPoolExecutor(LOADER_THREADS, "load"))
    closing.enter_context(spooling(settings.spool_dir))
    store, batch = LocalStore(settings.data_dir), settings.predict_batch
    load, memory = loader(settings, store), settings.predict_memory_bytes
    cache = ModelCache(load, loading, memory, batch, metrics.model_load_failures.inc)
    batcher = Batcher(device, batch, settings.predict_queue, metrics.batch_images.observe, traces)
    stopping = asyncio.Event()
    return State(
        settings=settings,
        db=db,
        store=store,
        cache=cache,
        reloader=ModelReloader(db, cache, settings.reload_poll_s),
        pipeline=Pipeline(batcher, decoders, pool, metrics, settings.max_image_pixels),
        metrics=metrics,
        access=access,
        database_check=DatabaseCheck(db, settings.lease_s),
        store_check=StoreCheck(store),
        statistics=Statistics(),
        outbound=await run_in_threadpool(_outbound) if settings.fetch_urls else None,
        builder=Builder(settings, stopping),
        listeners=Listeners(settings),
        stopping=stopping,
    )


def _background(state: State) -> list[Callable[[], Awaitable[object]]]:
    return [
        state.reloader.run,
        state.pipeline.batcher.run,
        partial(state.access.run, state.db),
        partial(keep_looking, state),
        partial(maintain, state.db, state.settings),
        partial(clean_up, state.db, state.store, state.settings),
        partial(_deliver_webhooks, state.db, state.settings),
    ]


async def _deliver_webhooks(db: Database, settings: Settings) -> None:
    sender = await run_in_threadpool(_webhook_sender, db, settings)
    await sender.run()


def _webhook_sender(db: Database, settings: Settings) -> "WebhookSender":
    from service.background.webhook_sender import WebhookSender

    return WebhookSender(db, _outbound(settings.webhook_allow_private))


def _outbound(allow_private: bool = False) -> "OutboundClient":
    from service.security.outbound_client import (
        OutboundClient,  # httpx and its certificates take 0.2 s to import: the start does not wait
    )

    return OutboundClient(allow_private)
