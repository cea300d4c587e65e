"""Trace requests, batches and device runs.

Imported only where traces are wanted. A batch answers several requests: it is a child of the oldest one that is traced,
and links to them all. A request that makes a job links to the job's own trace (worker.integrations.tracing).
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import tracing
from core.inference.onnx_predictor import Images, Outputs, Predictor
from service.web.asgi import PROBES

JOBS = "/jobs/"


class Tracing:
    """Traces of requests (as a middleware) and batches (as the batcher's Watch)."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(tracing.SCOPE)

    def middleware(self, app: ASGIApp) -> ASGIApp:
        return _Requests(app, self._tracer)

    def request(self) -> SpanContext:
        """Return the current request's span; invalid if it is not traced."""
        return get_current_span().get_span_context()

    def batch(self, predictor: Predictor, requests: Sequence[SpanContext]) -> Callable[[Images, bool], Outputs]:
        """Return the predictor's ``run`` for a batch that begins now, traced.

        ``requests`` holds one span for each image.
        """
        contexts = list({request.span_id: request for request in requests if request.is_valid}.values())
        span = self._tracer.start_span(
            "batch",
            context=_below(contexts),
            links=[Link(request) for request in contexts],
            attributes={"tuneserve.images": len(requests), "tuneserve.model": predictor.model.id},
        )
        return partial(self._run, predictor, span)

    def _run(self, predictor: Predictor, span: Span, images: Images, with_features: bool) -> Outputs:
        """Run a batch within its span, on the device's thread."""
        about = {"tuneserve.engine": predictor.engine}
        with use_span(span, end_on_exit=True), self._tracer.start_as_current_span("device", attributes=about):
            return predictor.run(images, with_features)

    def close(self) -> None:
        tracing.shut_down(self._provider)


class _Requests:
    """Trace every request but probes.

    A trace that the caller names goes on (W3C traceparent).
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            return await self._app(scope, receive, send)
        about = {"http.request.method": scope["method"], "url.path": scope["path"], "url.scheme": scope["scheme"]}
        caller = _caller(scope["headers"])
        with self._tracer.start_as_current_span(
            scope["method"], context=caller, kind=SpanKind.SERVER, attributes=about
        ) as span:

            async def send_seen(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _describe(span, message)
                await send(message)

            try:
                await self._app(scope, receive, send_seen)
            finally:
                _name(span, scope)


def _below(requests: Sequence[SpanContext]) -> Context:
    parent = next((request for request in requests if request.trace_flags.sampled), None)
    return set_span_in_context(NonRecordingSpan(parent), Context()) if parent else Context()


def _caller(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    named = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name.startswith(b"trace")}
    return TraceContextTextMapPropagator().extract(named, Context())


def _describe(span: Span, answer: Message) -> None:
    span.set_attribute("http.response.status_code", answer["status"])
    if answer["status"] >= 500:
        span.set_status(StatusCode.ERROR)
    location = dict(answer.get("headers", ())).get(b"location", b"").decode("latin-1")
    if location.startswith(JOBS):
        job_id = location.removeprefix(JOBS)
        flags = TraceFlags(TraceFlags.SAMPLED)
        first = SpanContext(tracing.trace_id(job_id), tracing.span_id(job_id, 1), is_remote=True, trace_flags=flags)
        span.add_link(first, {"tuneserve.job": job_id})


def _name(span: Span, scope: Scope) -> None:
    """Name a span by the route's template, so that names are few.

    The template is known once the path was matched.
    """
    if route := getattr(scope.get("route"), "path", None):
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("tuneserve.request_id", scope.get("state", {}).get("request_id", ""))
