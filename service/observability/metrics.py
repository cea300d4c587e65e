"""Collect the service's metrics for Prometheus.

``create_app`` builds them. Every label takes a bounded number of values.
"""

import contextlib
import os
import time
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # where several processes of the service count together; the library's own name
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of this process.

    ``routes.metrics`` sets the gauges that are read from the database.
    """

    def __init__(self) -> None:
        own = CollectorRegistry()
        self.requests = Counter(
            "tuneserve_requests", "HTTP requests answered.", ("route", "method", "status"), registry=own
        )
        self.request_seconds = Histogram(
            "tuneserve_request_seconds", "From request to the end of its answer.", ("route", "method"),
            buckets=SECONDS, registry=own,
        )  # fmt: skip
        self.predict_images = Counter(
            "tuneserve_predict_images",
            "Images of /predict: read, blank or refused.",
            ("model", "outcome"),
            registry=own,
        )
        self.batch_images = Histogram(
            "tuneserve_batch_images", "Images in a run of the network.", buckets=IMAGES, registry=own
        )
        self.model_load_failures = Counter(
            "tuneserve_model_load_failures", "Models that could not be loaded or failed their test.", registry=own
        )
        self.queue_images = Gauge(
            "tuneserve_queue_images", "Images that wait for the device.", registry=own, multiprocess_mode="livesum"
        )
        self.models_loaded = Gauge(
            "tuneserve_models_loaded", "Models in memory.", registry=own, multiprocess_mode="livesum"
        )
        self.serving_refused = Gauge(
            "tuneserve_serving_refused",
            "1: the model that an alias serving names was refused, and another one serves or none.",
            registry=own, multiprocess_mode="livemax",
        )  # fmt: skip
        self._own = own

    @property
    def registry(self) -> CollectorRegistry:
        """Return the registry to expose.

        If several processes share a folder, it adds up their counters and lists the gauges of the live ones.
        """
        if SHARED not in os.environ:
            return self._own
        _forget_the_dead(Path(os.environ[SHARED]))
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return together


def _forget_the_dead(folder: Path) -> None:
    """Delete the gauges of processes that were killed.

    Those cannot do so, and uvicorn reports it to nobody.
    """
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with contextlib.suppress(FileNotFoundError):  # another process forgets it at the same time
                mark_process_dead(pid)  # type: ignore[no-untyped-call]


class Observe:
    """Count and time every request by its route's template.

    The path itself would make too many values.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._requests = cache(metrics.requests.labels)  # to find one among them takes as long as to count
        self._seconds = cache(metrics.request_seconds.labels)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = time.perf_counter()
        status = 500  # what becomes of an exception that is answered further out

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        finally:
            route = getattr(scope.get("route"), "path", "none")  # set where the path is matched
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._requests(route, method, status).inc()
            self._seconds(route, method).observe(time.perf_counter() - started)
