"""Bound what a connection may send unanswered, and how long it takes.

httptools, uvicorn's parser in C, has no limits of its own: a name, a value or a target grows as long as it comes.
"""

import asyncio
import json
import time
from dataclasses import dataclass, fields
from enum import Enum

from core.settings import Settings
from service.web.body_pace import WINDOW_S, BodyPace
from service.web.shutdown import StoppableProtocol

LIMITS = "connection_limits"  # in the state that the application's lifespan gives the server
MAX_PIPELINED = 16  # requests that wait for the answer before them, on one connection
PROBLEMS = {
    408: ("Request Timeout", "request_timeout", "The request stood still for too long; send it again."),
    431: ("Request Header Fields Too Large", "headers_too_large", "Request line and headers are too long."),
    503: ("Service Unavailable", "too_many_connections", "Too many connections are open; try again in a moment."),
}


class Part(Enum):
    """The part of a request that must arrive next."""

    HEAD = "request line and headers"
    BODY = "body"


@dataclass(frozen=True)
class ConnectionLimits:
    max_header_bytes: int  # request line and headers together; a body's trailers and the like too
    header_timeout_s: float  # from the first byte of a request, or from the connection, to its last header
    body_timeout_s: float  # without a byte of a body
    min_body_bytes_per_s: float  # averaged over a minute
    max_connections: int

    @classmethod
    def of(cls, settings: Settings) -> "ConnectionLimits":
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})


class BoundedProtocol(StoppableProtocol):
    """uvicorn's HTTP protocol within ConnectionLimits.

    Beyond them it answers 431, 408 or 503 and closes the connection. Only public callbacks of asyncio and of httptools
    are extended.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._limits: ConnectionLimits = self.app_state[LIMITS]
        self._outside_body = 0  # bytes since the request began or its body went on
        self._reading: Part | None = Part.HEAD  # None: nothing is expected
        self._watched: Part | None = None  # what the deadline is for
        self._deadline: asyncio.TimerHandle | None = None
        self._last_byte_at = 0.0
        self._pace = BodyPace(0, 0)
        if len(self.connections) > self._limits.max_connections:
            self._refuse(503)
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser no more than may come.

        It would keep all of it.
        """
        self._last_byte_at = time.monotonic()
        if self._reading is None and (self.cycle is None or self.cycle.response_complete):
            self._reading = Part.HEAD  # empty lines too: the parser does not report them
        while data and not self.transport.is_closing():
            room = self._limits.max_header_bytes - self._outside_body
            piece, data = data[:room], data[room:]
            self._outside_body += len(piece)
            super().data_received(piece)
            if self._outside_body >= self._limits.max_header_bytes:
                self._refuse(431)
        self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading = Part.HEAD

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._outside_body = 0
        self._reading = Part.BODY
        self._pace = BodyPace(self._limits.min_body_bytes_per_s, self._last_byte_at)
        self._relax()
        if len(self.pipeline) > MAX_PIPELINED:
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._outside_body = 0
        self._pace.receive(len(body), self._last_byte_at)
        if self.flow.read_paused:
            self._pace.pause()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._outside_body = 0
        self._reading = None

    def _watch(self) -> None:
        """Set a deadline for what has to come next.

        Most requests come whole and need none.
        """
        if self._reading is self._watched:
            return
        self._relax()
        if self._reading is not None and not self.transport.is_closing():
            head = self._reading is Part.HEAD
            self._expect(self._limits.header_timeout_s if head else self._limits.body_timeout_s)

    def _expect(self, within_s: float) -> None:
        self._watched = self._reading
        self._deadline = self.loop.call_later(within_s, self._time_out)

    def _relax(self) -> None:
        self._watched = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _time_out(self) -> None:
        """Close a connection that stands still or drips."""
        left_s = self._body_left_s() if self._reading is Part.BODY else 0.0
        if left_s > 0:
            self._expect(min(left_s, WINDOW_S))
        else:
            self._refuse(408)

    def _body_left_s(self) -> float:
        """Return how many seconds the next byte may take.

        A body that waits for us, or for a 100, has all the time.
        """
        now = time.monotonic()
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._pace.pause()
            return self._limits.body_timeout_s
        return 0.0 if self._pace.is_slow(now) else self._limits.body_timeout_s - (now - self._last_byte_at)

    def _refuse(self, status: int) -> None:
        """Close the connection; say why, where no other answer is under way."""
        self._relax()
        if not self.transport.is_closing() and not self._is_answering:
            self.transport.write(_answer(status))
        if self.cycle is not None:
            self.cycle.disconnected = True  # whatever is answered now goes nowhere
        self.transport.close()

    @property
    def _is_answering(self) -> bool:
        """Check whether another answer comes first, or has begun."""
        if self.cycle is None or self.cycle.response_complete:
            return False
        return self.cycle.response_started or self._reading is not Part.BODY or bool(self.pipeline)


def _answer(status: int) -> bytes:
    """Write a whole error response.

    The application, with its headers and its log, never sees such a request.
    """
    title, code, detail = PROBLEMS[status]
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code})
    lines = [
        f"HTTP/1.1 {status} {title}",
        "content-type: application/problem+json",
        f"content-length: {len(body)}",
        "cache-control: no-store",
        "cross-origin-resource-policy: same-origin",
        "connection: close",
        *(["retry-after: 5"] if status == 503 else []),
    ]
    return "\r\n".join([*lines, "", body]).encode()
