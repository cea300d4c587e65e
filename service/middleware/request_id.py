"""What every request passes: an id that follows it into the log, and a bound on its body."""

import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import logs
from core.errors import TooLarge
from service.web.asgi import header

log = logging.getLogger("service.security.api_keys")
PROBES = ("/livez", "/readyz")  # asked every few seconds, for ever: silent while all is well
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id_of(scope: Scope) -> str:
    """As it was sent, where that is one; else a new one."""
    given = header(scope, b"x-request-id")
    # no secret: the system's own chance costs a call of the kernel, 4 % of the event loop's time under load
    return given if REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


class RequestId:
    """Echoes ``X-Request-Id``, or makes one up, and logs one line for each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id = request_id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        logs.REQUEST_ID.set(request_id)  # never reset: the task is the request's, and the server logs what fails in it
        started = time.perf_counter()
        status = 500  # what becomes of an exception that is answered further out

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            took_ms = (time.perf_counter() - started) * 1000
            level = logging.DEBUG if scope["path"] in PROBES and status < 400 else logging.INFO
            if log.isEnabledFor(level):
                told = {"method": scope["method"], "path": scope["path"], "status": status}
                logs.tell(log, level, "%s %s %d %.1f ms", told | {"took_ms": round(took_ms, 1)})


class BodyLimit:
    """Raises TooLarge before an announced body is read, or while an unannounced one arrives.

    ``elsewhere`` are the paths with a limit of their own, for all below them too.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, elsewhere: Mapping[str, int] = MappingProxyType({})) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._elsewhere = elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            limit = self._elsewhere.get("/".join(scope["path"].split("/")[:2]), self._max_bytes)
            receive = _bounded(header(scope, b"content-length"), receive, limit)
        await self._app(scope, receive, send)


def _bounded(announced: str, receive: Receive, limit: int) -> Callable[[], Awaitable[Message]]:
    received = 0

    async def bounded() -> Message:
        nonlocal received
        if announced.isascii() and announced.isdigit() and int(announced) > limit:
            raise _too_large(limit)
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit)
        return message

    return bounded


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes.")
