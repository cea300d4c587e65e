"""Traces for OpenTelemetry, where its own standard variables ask for them and the extra ``otel`` is installed.

They go out as OTLP over HTTP. Nothing of OpenTelemetry is imported while nobody asks.
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
LAST_S = 2.0  # what the last spans may take at the end of a process; the exporter alone would take up to 30


def is_on(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether traces are wanted and can be made."""
    if not _is_wanted(environ):
        return False
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: F401 - whether it is there
    except ImportError:
        log.warning("OTEL_* variables ask for traces; the extra otel is missing: pip install 'tuneserve[otel]'")
        return False
    return True


def _is_wanted(environ: Mapping[str, str]) -> bool:
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if exporter := environ.get("OTEL_TRACES_EXPORTER"):
        return exporter == "otlp"
    return any(environ.get(name) for name in ENDPOINTS)


def provider(process: str, ids: "IdGenerator | None" = None) -> "TracerProvider":
    """Sends from a thread of its own; spans are dropped, and nobody waits, where the collector is away or slow.

    ``process`` is part of the service's name, unless OTEL_SERVICE_NAME gives one.
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
    """Send what still waits."""
    last = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
    last.start()
    last.join(LAST_S)


def trace_id(job_id: str) -> int:
    """Of all attempts of that job: 128 bits that whoever knows the job's id knows too."""
    return int.from_bytes(sha256(job_id.encode()).digest()[:16])


def span_id(job_id: str, attempt: int) -> int:
    """Of the span that is this attempt: 64 bits."""
    return int.from_bytes(sha256(f"{job_id} {attempt}".encode()).digest()[:8])
