"""Bound the body of a request."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import TooLarge
from service.web.asgi import header


class BodyLimit:
    """Raise TooLarge before an announced body is read, or while an unannounced one arrives.

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
