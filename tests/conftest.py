"""Shared fixtures: a database, a store, settings and factories for rows."""

import asyncio
import atexit
import gc
import itertools
import os
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NoReturn

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import uvicorn
from PIL import Image
from sqlalchemy import Engine, create_engine, make_url, text

from core.artifacts.manifest import from_tensors, write_folder
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Base, Job, Model, Worker
from core.imaging.preparation import preprocess_digit
from core.recipes.recipe import Recipe
from core.repositories import jobs, models, workers
from core.repositories.jobs import Claim
from core.settings import Settings
from service.app import create_app
from service.web.connection_limits import BoundedProtocol
from tests import ROOT
from tests.support.fakes import DIGITS, model_card, self_test_samples, tiny_onnx, until

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share the cores
NOW = 1_800_000_000.0  # tests move time, they do not wait for it
DIGIT_FILES = [ROOT / "tuneserve" / "digits" / f"{digit}.png" for digit in DIGITS]
POSTGRES = "TEST_POSTGRES_URL"  # postgresql+psycopg://user@host/any; tests make databases of their own there
SLOW_S = 600  # seconds that a test there may take: they train, compile or start programs, on machines of any speed
SLOW = """
benchmarks browser chaos gpu integration worker
core/inference core/test_networks.py
service/datasets service/inference/test_torch_predictor.py service/test_pressure.py service/web/openapi tuneserve/cli
test_architecture.py test_fuzz.py test_packaging.py test_page_types.py test_parent_death.py
test_telemetry.py test_tracing.py
"""
LONGEST = ROOT / "tests" / "worker" / "test_trainer.py"
SHARED = os.environ.get("TUNESERVE_SHARED", str(ROOT.parent / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests a longer timeout than the others, and start the longest file first.

    A timeout of their own comes before this one. Begun last, that file would keep one process busy for minutes while
    the others have nothing left.
    """
    items.sort(key=lambda item: item.path != LONGEST)
    slow = [ROOT / "tests" / place for place in SLOW.split()]
    for item in items:
        if any(item.path.is_relative_to(place) for place in slow):
            item.add_marker(pytest.mark.timeout(SLOW_S))


def pytest_collection_finish() -> None:
    """Spare the modules that are there by now from every search for garbage: it takes a second with torch."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # else libraries tell of leaks


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TUNESERVE_") or name == "HF_HUB_OFFLINE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("TUNESERVE_TRAIN_THREADS", "1")  # as above: two processes with two threads each wait for another


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return unplaced_settings().model_copy(update={"data_dir": tmp_path / "data"})


@cache
def unplaced_settings() -> Settings:
    """Settings that are read once a process: reading them is a quarter of a small test's time."""
    return Settings(predict_threads=1, reload_poll_s=0.05)


@pytest.fixture
def database_url(settings: Settings) -> Iterator[str]:
    yield from url_of("sqlite", settings)


EACH_DATABASE = ("sqlite", pytest.param("postgresql", marks=pytest.mark.server))


def missing(reason: str) -> NoReturn:
    """Skip a test that needs something absent; in CI, fail it.

    Everything is there in CI.
    """
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def url_of(kind: str, settings: Settings) -> Iterator[str]:
    """Make a migrated database of that kind and yield its URL.

    It is the body of a module's own ``database_url`` fixture, where its tests hold on every database. Migrating is
    half of the time of a small test, so it is done once a process, and each test gets a copy, or finds it empty.
    """
    if kind == "sqlite":
        settings.data_dir.mkdir(mode=0o700, exist_ok=True)
        Path(make_url(settings.resolved_database_url).database or "").write_bytes(migrated_file())
        yield settings.resolved_database_url
        return
    url = migrated_database()
    yield url
    empty(url)


@cache
def migrated_file() -> bytes:
    """Bytes of an empty SQLite database with the newest schema."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "migrated.db"
        migrate(f"sqlite:///{file}")
        return file.read_bytes()


def empty(url: str) -> None:
    """Empty a PostgreSQL database and end what is still connected to it: a hundred times faster than another one."""
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        others = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        connection.execute(text(f"{others} WHERE datname = current_database() AND pid <> pg_backend_pid()"))
        names = ", ".join(table.name for table in Base.metadata.sorted_tables)
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
    admin.dispose()


@cache
def migrated_database() -> str:
    """URL of an empty PostgreSQL database with the newest schema; it goes with this process."""
    server = os.environ.get(POSTGRES)
    if not server:
        missing(f"{POSTGRES} names no server")
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    kept = ExitStack()
    url = kept.enter_context(database_at(admin))
    atexit.register(kept.close)
    migrate(url)
    return url


@contextmanager
def database_at(admin: Engine) -> Iterator[str]:
    """Make a PostgreSQL database of its own, yield its URL, drop it."""
    name = f"test_{uuid.uuid4().hex}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield admin.url.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def migrate(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.close()


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def store(settings: Settings) -> LocalStore:
    return LocalStore(settings.data_dir)


@pytest.fixture
def enqueue(db: Database) -> Callable[..., Job]:
    """A queued job; keywords are fields of its recipe, ``at`` its time."""

    def make(at: float = NOW, **recipe: Any) -> Job:
        with db.write() as session:
            return jobs.enqueue(session, Recipe(**recipe), at, queue_limit=100)

    return make


@pytest.fixture
def claimed(db: Database, enqueue: Callable[..., Job]) -> Callable[..., Claim]:
    """A running job, claimed by a worker that is alive at ``at``."""

    def make(worker: str = "worker_a", at: float = NOW, **recipe: Any) -> Claim:
        enqueue(at, **recipe)
        with db.write() as session:
            if session.get(Worker, worker) is None:
                workers.register(session, Worker(id=worker, host="here", pid=1, started_at=at, heartbeat_at=at))
        with db.write() as session:
            claim = jobs.claim(session, worker, at)
        assert claim is not None
        return claim

    return make


@pytest.fixture
def job_of(db: Database) -> Callable[[str], Job]:
    def get(job_id: str) -> Job:
        with db.read() as session:
            return jobs.get(session, job_id)

    return get


@pytest.fixture
def shared() -> Path:
    """The folder of real data outside the project.

    If it is missing, the test skips, but fails in CI unless TUNESERVE_SHARED is empty.
    """
    if not SHARED or not Path(SHARED).is_dir():
        if SHARED and os.environ.get("CI"):
            pytest.fail(f"the shared data is not at {SHARED}")
        pytest.skip(f"no shared data at {SHARED}")
    return Path(SHARED)


@pytest.fixture(scope="session")
def digit_weights() -> npt.NDArray[np.float32]:
    """One layer that truly classifies the digits of tuneserve/digits.

    Each column is one digit.
    """
    columns = []
    for file in DIGIT_FILES:
        with Image.open(file) as image:
            pixels = preprocess_digit(np.asarray(image.convert("L"))).pixels.astype(np.float32)
        columns.append(pixels.ravel() / np.linalg.norm(pixels) / 255)
    return np.stack(columns, axis=1)


@pytest.fixture
def published(db: Database, store: LocalStore, digit_weights: npt.NDArray[np.float32]) -> Callable[..., Model]:
    return publisher(db, store, digit_weights)


def publisher(db: Database, store: LocalStore, digit_weights: npt.NDArray[np.float32]) -> Callable[..., Model]:
    """A factory of published models with a small real graph.

    The bytes come first, then the row.
    """
    numbers = itertools.count(1)

    def make(
        onnx: bytes | None = None, at: float = NOW, more: Mapping[str, bytes] = MappingProxyType({}), **card: Any
    ) -> Model:
        number = next(numbers)
        key = f"models/model_{number}"
        graph = tiny_onnx(digit_weights) if onnx is None else onnx
        files = {
            "weights.safetensors": from_tensors({"weights": digit_weights}),
            "model.onnx": graph,
            **self_test_samples(graph),
            **more,
        }
        listing = write_folder(store, key, files, {"id": f"model_{number}"})
        with db.write() as session:
            return models.publish(
                session, f"model_{number}", f"job_{number}", key, model_card(**card) | {"files": listing}, at
            )

    return make


@asynccontextmanager
async def running(settings: Settings, raise_errors: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """The whole service with everything it starts, reached without a socket."""
    app = create_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=raise_errors)
    client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
    async with app.router.lifespan_context(app), client as http:
        yield http


@pytest.fixture
async def http(settings: Settings, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings.model_copy(update={"database_url": database_url})) as client:
        yield client


@contextmanager
def serving(settings: Settings, port: int = 0) -> Iterator[uvicorn.Server]:
    """The whole service on a socket of the loopback."""
    config = uvicorn.Config(
        create_app(settings), port=port, http=BoundedProtocol, ws="none", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    started = threading.Event()

    async def serve() -> None:
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started or serving.done())
        started.set()
        await serving

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join()


def port_of(server: uvicorn.Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


@pytest.fixture
def server(settings: Settings) -> Iterator[uvicorn.Server]:
    with serving(settings) as server:
        yield server


@pytest.fixture
def live(server: uvicorn.Server) -> str:
    """The URL of the whole service on a socket."""
    return f"http://127.0.0.1:{port_of(server)}"
