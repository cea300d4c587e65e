"""create_app(settings): the composition root. Everything the service is made of is built here, and only here."""

import asyncio
import importlib.util
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool

from core import jobs
from core.db import Database
from core.settings import Settings
from core.store import ArtifactStore, LocalStore
from core.tables import Model
from service import problems
from service.batcher import Batcher
from service.limits import BodyLimit, RequestId
from service.predictor import OnnxPredictor, Predictor, warm_up
from service.reloader import Load, Reloader
from service.routes import catalogue, health, models, predict
from service.routes import jobs as jobs_routes
from service.state import State

log = logging.getLogger(__name__)
DECODER_THREADS = 4
DESCRIPTION = "POST a training job; minutes later, ask the new model. Every example below works when pasted."


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application. Nothing is opened before it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        db = Database(settings.resolved_database_url)
        await run_in_threadpool(db.migrate)
        store = LocalStore(settings.data_dir)
        with ThreadPoolExecutor(1, "device") as device, ThreadPoolExecutor(DECODER_THREADS, "decode") as decoders:
            load = _loader(settings, store)
            with ThreadPoolExecutor(1, "load") as loading:
                reloader = Reloader(db, load, loading, settings.reload_poll_s)
                batcher = Batcher(device, settings.predict_batch, settings.predict_queue)
                app.state.service = State(settings, db, store, reloader, batcher, decoders)
                await reloader.check()  # a model that is there already answers the first request
                tasks = [
                    asyncio.create_task(run) for run in (reloader.run(), batcher.run(), _look_after_jobs(db, settings))
                ]
                try:
                    yield
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        db.close()

    app = FastAPIOffline(title="tuneserve", version=version("tuneserve"), description=DESCRIPTION, lifespan=lifespan)
    problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestId)
    for router in (jobs_routes.router, models.router, predict.router, catalogue.router, health.router):
        app.include_router(router)
    app.add_api_route("/", lambda: RedirectResponse("/docs"), include_in_schema=False)
    return app


async def _look_after_jobs(db: Database, settings: Settings) -> None:
    """Without this, the job of the last worker that dies would stay "running" until another one starts."""
    while True:
        await asyncio.sleep(settings.beat_s)
        try:
            await run_in_threadpool(_requeue_lost, db, settings.lease_s)
        except OperationalError:
            log.warning("the database does not answer", exc_info=True)


def _requeue_lost(db: Database, lease_s: float) -> None:
    with db.write() as session:
        for job_id in jobs.requeue_lost(session, time.time(), lease_s):
            log.warning("%s had lost its worker", job_id)


def _loader(settings: Settings, store: ArtifactStore) -> Load:
    """How a model becomes a predictor here, decided once: torch on a GPU, ONNX Runtime elsewhere."""
    on_gpu = _wants_gpu(settings)

    def load(model: Model) -> Predictor:
        predictor: Predictor
        if on_gpu:
            from service.torch_predictor import TorchPredictor  # imports torch: a CPU service must not

            predictor = TorchPredictor(model, store, "cuda")
        else:
            predictor = OnnxPredictor(model, store, settings.resolved_predict_threads)
        warm_up(predictor, settings.predict_batch)
        return predictor

    return load


def _wants_gpu(settings: Settings) -> bool:
    """Whether to predict on a GPU. Importing torch to find out that there is none would cost seconds and 600 MB."""
    if settings.predict_device == "cpu":
        return False
    has_driver = Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()
    if settings.predict_device == "auto" and not (has_driver and importlib.util.find_spec("torch")):
        return False
    from service.torch_predictor import cuda_is_available

    if settings.predict_device == "cuda" and not cuda_is_available():
        raise RuntimeError("TUNESERVE_PREDICT_DEVICE is cuda, and torch sees no CUDA device.")
    return cuda_is_available()
