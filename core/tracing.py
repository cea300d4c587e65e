"""OpenTelemetry traces, enabled by its standard variables and the extra ``otel``.

Traces are sent as OTLP over HTTP. OpenTelemetry is imported only if they are enabled.
"""

import logging
import os
import threading
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator

log = logging.getLogger(__name__)
SCOPE = "tuneserve"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
LAST_S = 2.0  # longest flush at the end of a process; the exporter alone would take up to 30 s


def is_on(environ: Mapping[str, str] = os.environ) -> bool:
    """Check whether traces are enabled and the extra is installed."""
    if not _is_wanted(environ):
        return False
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: F401 - only to see whether it is installed
    except ImportError:
        log.warning("OTEL_* variables enable traces, but the extra otel is missing: pip install 'tuneserve[otel]'")
        return False
    return True


def _is_wanted(environ: Mapping[str, str]) -> bool:
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if exporter := environ.get("OTEL_TRACES_EXPORTER"):
        return exporter == "otlp"
    return any(environ.get(name) for name in ENDPOINTS)


def provider(process: str, ids: "IdGenerator | None" = None) -> "TracerProvider":
    """Create a tracer provider that exports from a background thread.

    Spans are dropped if the collector is slow or not reachable. ``process`` is part of the service's name, unless
    OTEL_SERVICE_NAME is set.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": f"{SCOPE}-{process}"}
    made = TracerProvider(resource=Resource.create(named), id_generator=ids, shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made


def shut_down(provider: "TracerProvider") -> None:
    """Flush pending spans, for at most LAST_S."""
    last = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
    last.start()
    last.join(LAST_S)


def trace_id(job_id: str) -> int:
    """Derive the trace id of a job's attempts, 128 bits.

    All attempts have the same, from the job's id.
    """
    return int.from_bytes(sha256(job_id.encode()).digest()[:16])


def span_id(job_id: str, attempt: int) -> int:
    """Return the id of an attempt's span: 64 bits."""
    return int.from_bytes(sha256(f"{job_id} {attempt}".encode()).digest()[:8])
