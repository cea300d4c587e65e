"""Refuse predictions early while the queue is full.

Under ten times the load that can be answered, refusing is most of the work: what a route and its middlewares do for
each request would take the processor from the answers.
"""

import json
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from service.middleware.request_id import request_id_of

PATH = "/predict"
RETRY_AFTER_S = 1
PROBLEM = {
    "type": "about:blank",
    "title": "Too Many Requests",
    "status": 429,
    "detail": "Too many images are waiting already; try again in a moment.",
    "instance": PATH,
    "code": "overloaded",
}
HEADERS = [
    (b"content-type", b"application/problem+json"),
    (b"retry-after", str(RETRY_AFTER_S).encode()),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class LoadShedding:
    """Answer 429 to predictions while the queue is full.

    ``on_refused`` counts; ``is_full`` is called for each prediction.
    """

    def __init__(self, app: ASGIApp, is_full: Callable[[], bool], on_refused: Callable[[], None]) -> None:
        self._app = app
        self._is_full = is_full
        self._on_refused = on_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST" or not self._is_full():
            await self._app(scope, receive, send)
            return
        self._on_refused()
        request_id = request_id_of(scope)
        body = json.dumps(PROBLEM | {"request_id": request_id}).encode()
        own = [(b"content-length", str(len(body)).encode()), (b"x-request-id", request_id.encode())]
        await send({"type": "http.response.start", "status": 429, "headers": [*HEADERS, *own]})
        await send({"type": "http.response.body", "body": body})
