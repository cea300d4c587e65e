"""Answer below a path of a proxy: TUNESERVE_ROOT_PATH, or the header X-Forwarded-Prefix.

The proxy may strip the prefix or leave it. The routes never see it; Location and OpenAPI name it.
"""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.settings import ROOT_PATH
from service.web.asgi import header

OPENAPI = "/openapi.json"  # FastAPI gives its clients the prefix through the scope's root_path
MAX_LENGTH = 256


class ProxyPrefix:
    def __init__(self, app: ASGIApp, prefix: str = "") -> None:
        self._app = app
        self._prefix = prefix.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = (self._prefix or _forwarded(scope)) if scope["type"] == "http" else ""
        if not prefix:
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith(f"{prefix}/"):
            scope["path"] = scope["path"].removeprefix(prefix)
            scope["raw_path"] = scope.get("raw_path", b"").removeprefix(prefix.encode())
        if scope["path"] == OPENAPI:
            scope["root_path"] = prefix

        async def send_prefixed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [_prefixed(one, prefix) for one in message.get("headers", ())]}
            await send(message)

        await self._app(scope, receive, send_prefixed)


def _forwarded(scope: Scope) -> str:
    prefix = header(scope, b"x-forwarded-prefix").rstrip("/")
    return prefix if len(prefix) <= MAX_LENGTH and re.fullmatch(ROOT_PATH, prefix) else ""


def _prefixed(one: tuple[bytes, bytes], prefix: str) -> tuple[bytes, bytes]:
    name, value = one
    return (name, prefix.encode() + value) if name == b"location" and value.startswith(b"/") else one
