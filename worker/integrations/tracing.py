"""OpenTelemetry trace of a job: job -> phase -> epoch.

Imported only if traces are enabled.

All attempts of a job share one trace, whose id is derived from the job's.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, StatusCode, set_span_in_context

from core import tracing
from core.db.tables import JobStatus
from core.repositories.jobs import Claim


class JobIdGenerator(RandomIdGenerator):
    """Derive the ids of trace and first span from the attempt.

    The request's span links to the first span.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._begun = False

    def generate_trace_id(self) -> int:
        return tracing.trace_id(self._claim.job_id)

    def generate_span_id(self) -> int:
        if self._begun:
            return super().generate_span_id()
        self._begun = True
        return tracing.span_id(self._claim.job_id, self._claim.attempt)


class JobTrace:
    """Create spans from a job's events.

    Each is sent when it ends, so that a killed attempt loses only open ones.
    """

    def __init__(self, claim: Claim, provider: TracerProvider, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._provider = provider
        self._clock_ns = clock_ns
        self._tracer = provider.get_tracer(tracing.SCOPE)
        about: dict[str, str | int] = {"tuneserve.job": claim.job_id, "tuneserve.attempt": claim.attempt}
        self._job = self._tracer.start_span("job", Context(), attributes=about, start_time=clock_ns())
        self._phase: Span | None = None
        self._epoch_began = clock_ns()

    def __call__(self, kind: str, data: Mapping[str, Any]) -> None:
        now = self._clock_ns()
        if kind == "status":
            self._enter(data["phase"], now)
        elif kind == "metrics":
            self._add_epoch(data, now)
        elif kind == "recipe":
            self._job.set_attributes({f"tuneserve.{name}": data[name] for name in ("dataset", "network", "device")})
        elif kind == "log":
            self._job.add_event(data["message"], timestamp=now)
        elif kind == "ended":
            self._end(data["status"], now)

    def _enter(self, phase: str, now: int) -> None:
        self._leave(now)
        self._phase = self._tracer.start_span(str(phase), set_span_in_context(self._job, Context()), start_time=now)
        self._epoch_began = now

    def _add_epoch(self, metrics: Mapping[str, Any], now: int) -> None:
        """Add an epoch's span, its validation included.

        It begins at the end of the previous epoch.
        """
        above = set_span_in_context(self._phase or self._job, Context())
        known = {f"tuneserve.{name}": value for name, value in metrics.items() if value is not None}
        self._tracer.start_span("epoch", above, attributes=known, start_time=self._epoch_began).end(now)
        self._epoch_began = now

    def _leave(self, now: int) -> None:
        if self._phase is not None:
            self._phase.end(now)
            self._phase = None

    def _end(self, status: JobStatus | None, now: int) -> None:
        self._leave(now)
        self._job.set_attribute("tuneserve.status", status or "lost")
        if status is JobStatus.FAILED:
            self._job.set_status(StatusCode.ERROR)
        self._job.end(now)
        tracing.shut_down(self._provider)
