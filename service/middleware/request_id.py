"""Give every request an id, and log one line for it."""

import logging
import random
import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import logs
from service.web.asgi import PROBES, header

log = logging.getLogger("service.access")
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id_of(scope: Scope) -> str:
    """Return the request's own id if valid, else a new one."""
    given = header(scope, b"x-request-id")
    # no secret: the system's own chance costs a call of the kernel, 4 % of the event loop's time under load
    return given if REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


class RequestId:
    """Echo ``X-Request-Id`` or make an id, and log each request.

    A request is one line of the log.
    """

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
                fields = {"method": scope["method"], "path": scope["path"], "status": status}
                logs.write(log, level, "%s %s %d %.1f ms", fields | {"took_ms": round(took_ms, 1)})
