"""Refuses predictions while the queue is full, before anything else is done for them.

Under ten times the load that can be answered, refusing is most of the work: what a route and its middlewares do for
each request would take the processor from the answers.
"""

import json
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/predict"
RETRY_AFTER_S = 1
BODY = json.dumps(
    {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "Too many images are waiting already; try again in a moment.",
        "instance": PATH,
        "code": "overloaded",
    }
).encode()
HEADERS = [
    (b"content-type", b"application/problem+json"),
    (b"content-length", str(len(BODY)).encode()),
    (b"retry-after", str(RETRY_AFTER_S).encode()),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]


class Shed:
    """``on_refused`` counts; ``is_full`` is asked for each prediction."""

    def __init__(self, app: ASGIApp, is_full: Callable[[], bool], on_refused: Callable[[], None]) -> None:
        self._app = app
        self._is_full = is_full
        self._on_refused = on_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST" or not self._is_full():
            await self._app(scope, receive, send)
            return
        self._on_refused()
        echoed = [header for header in scope["headers"] if header[0] == b"x-request-id"]
        await send({"type": "http.response.start", "status": 429, "headers": [*HEADERS, *echoed]})
        await send({"type": "http.response.body", "body": BODY})
