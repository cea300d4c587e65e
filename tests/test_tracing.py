"""Traces: what is traced, how spans are linked, what collectors receive.

The modules are core.tracing, service.observability.tracing and worker.integrations.tracing.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from core import tracing
from core.db.database import Database
from core.db.tables import JobStatus, Model, Phase
from core.repositories.jobs import Claim
from core.settings import Settings
from service.inference.batcher import Batcher
from service.observability.tracing import Tracing
from tests import ROOT
from tests.conftest import DIGIT_FILES, running
from tests.support.fakes import FakePredictor, image_of
from tests.support.receiver import Receiver, receiving
from worker import trainer
from worker.attempt.reporter import Reporter
from worker.integrations.tracing import JobIdGenerator, JobTrace

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDPOINT = tracing.ENDPOINTS[0]


@pytest.fixture(autouse=True)
def _no_variables_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*tracing.ENDPOINTS, "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)


class Seen:
    """The spans that have ended, in memory."""

    def __init__(self, claim: Claim | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(id_generator=JobIdGenerator(claim) if claim else None, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def __call__(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self(name)
        return span


def parent_of(span: ReadableSpan) -> int:
    return span.parent.span_id if span.parent else 0


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


# -- when


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({}, False),
        ({ENDPOINT: "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({ENDPOINT: "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_standard_variables_say_whether_there_are_traces(environ: dict[str, str], on: bool) -> None:
    assert tracing.is_on(environ) is on


def test_without_the_extra_a_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert not tracing.is_on({ENDPOINT: "http://collector:4318"})
    assert "pip install 'tuneserve[otel]'" in caplog.text


def test_nothing_of_it_is_imported_while_it_is_off() -> None:
    check = (
        "import service.server, worker.supervisor.loop, sys; from core.settings import Settings\n"
        "service.server.create_app(Settings())\n"
        "heavy = ('opentelemetry.sdk', 'mlflow', 'service.observability.tracing')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    ran = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (ran.stdout.strip(), ran.returncode) == ("[]", 0), ran.stderr


# -- the service


@contextlib.asynccontextmanager
async def batching(traces: Tracing) -> AsyncIterator[Batcher]:
    with ThreadPoolExecutor(1) as device:
        batcher = Batcher(device, 8, 100, watch=traces)
        task = asyncio.create_task(batcher.run())
        yield batcher
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_batch_is_below_its_oldest_request_and_links_to_all() -> None:
    seen, predictor = Seen(), FakePredictor()
    tracer = seen.provider.get_tracer("test")

    async def ask(name: str, images: int) -> None:
        with tracer.start_as_current_span(name):
            await batcher.submit(predictor, [image_of(1)] * images)

    async with batching(Tracing(seen.provider)) as batcher:
        await asyncio.gather(ask("first", 2), ask("second", 1))
    batch, first, second = seen.one("batch"), seen.one("first"), seen.one("second")
    assert parent_of(batch) == first.context.span_id
    assert [link.context for link in batch.links] == [first.context, second.context]
    assert attributes(batch)["tuneserve.images"] == 3
    assert parent_of(seen.one("device")) == batch.context.span_id


async def test_a_failure_of_the_device_is_an_error_of_its_span() -> None:
    seen, predictor = Seen(), FakePredictor()
    predictor.error = RuntimeError("out of order")
    async with batching(Tracing(seen.provider)) as batcher:
        with pytest.raises(RuntimeError):
            await batcher.submit(predictor, [image_of(1)])
    assert seen.one("device").status.status_code is StatusCode.ERROR
    assert seen.one("batch").parent is None  # nobody who is traced had asked


def sent(receiver: Receiver) -> dict[str, Any]:
    """The spans that the collector got, by their names."""
    bodies = [ExportTraceServiceRequest.FromString(asked.body) for asked in receiver.asked]
    scopes = [scope for body in bodies for part in body.resource_spans for scope in part.scope_spans]
    return {span.name: span for scope in scopes for span in scope.spans}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.url)
        yield receiver


async def test_a_collector_receives_request_batch_and_device_below_the_callers_own_span(
    published: Callable[..., Model], settings: Settings, collector: Receiver
) -> None:
    published()
    async with running(settings) as http:
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-Id": "mine"}
        answer = await http.post("/predict", files={"file": DIGIT_FILES[7].read_bytes()}, headers=headers)
        probe = await http.get("/livez")
    spans = sent(collector)
    assert (answer.status_code, probe.status_code, collector.asked[0].path) == (200, 200, "/v1/traces")
    assert set(spans) == {"POST /predict", "batch", "device"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    above = [spans[name].parent_span_id for name in ("POST /predict", "batch", "device")]
    assert above == [bytes.fromhex(CALLER), spans["POST /predict"].span_id, spans["batch"].span_id]


async def test_the_request_that_makes_a_job_links_to_its_trace(settings: Settings, collector: Receiver) -> None:
    async with running(settings) as http:
        job = (await http.post("/jobs", json={"dataset": "digits"})).json()
    (link,) = sent(collector)["POST /jobs"].links
    assert int.from_bytes(link.trace_id) == tracing.trace_id(job["id"])
    assert int.from_bytes(link.span_id) == tracing.span_id(job["id"], 1)


# -- the trainer


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now


def test_a_job_consists_of_phases_and_epochs(db: Database, claimed: Callable[..., Claim]) -> None:
    claim = claimed()
    seen, report = Seen(claim), Reporter(db, claim, 1.0)
    report.listeners.append(JobTrace(claim, seen.provider, Clock()))
    report.phase(Phase.TRAINING)
    for number in (1, 2):
        report.event("metrics", {"epoch": number, "train_loss": 0.5, "validation_loss": None})
    report.phase(Phase.EVALUATING)
    report.ended()
    job, training, (first, second) = seen.one("job"), seen.one("training"), seen("epoch")
    assert (job.context.trace_id, job.context.span_id) == (
        tracing.trace_id(claim.job_id),
        tracing.span_id(claim.job_id, 1),
    )
    assert [parent_of(span) for span in (training, first)] == [job.context.span_id, training.context.span_id]
    assert training.start_time == first.start_time
    assert first.end_time == second.start_time
    assert attributes(second) == {"tuneserve.epoch": 2, "tuneserve.train_loss": 0.5}
    assert seen.one("evaluating").end_time == job.end_time


@pytest.mark.parametrize(("status", "code"), [(JobStatus.FAILED, StatusCode.ERROR), (None, StatusCode.UNSET)])
def test_only_a_failed_job_is_an_error(status: JobStatus | None, code: StatusCode) -> None:
    claim = Claim("job_1", 2)
    seen = Seen(claim)
    JobTrace(claim, seen.provider)("ended", {"status": status})
    assert seen.one("job").status.status_code is code
    assert attributes(seen.one("job"))["tuneserve.status"] == (status or "lost")


def test_the_trainers_spans_reach_a_collector(settings: Settings, collector: Receiver) -> None:
    told = trainer.integrations(settings, Claim("job_1", 1))
    (trace,) = (listener for listener in told if isinstance(listener, JobTrace))
    trace("ended", {"status": JobStatus.SUCCEEDED})
    assert int.from_bytes(sent(collector)["job"].trace_id) == tracing.trace_id("job_1")


async def test_a_collector_that_is_away_costs_no_answer(
    settings: Settings, published: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    published()
    with receiving() as gone:
        pass
    monkeypatch.setenv(ENDPOINT, gone.url)
    monkeypatch.setattr(tracing, "LAST_S", 0.1)
    async with running(settings) as http:
        answer = await http.post("/predict", files={"file": DIGIT_FILES[7].read_bytes()})
    assert answer.status_code == 200
