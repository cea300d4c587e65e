"""Bound a request's body, and all bodies in flight together."""

from collections.abc import Mapping
from types import MappingProxyType

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import Overloaded, TooLarge
from service.web.asgi import announced_bytes


class BodyLimit:
    """Raise TooLarge for bodies above a limit.

    An announced body is refused before it is read, an unannounced one while it arrives. ``elsewhere`` are the paths
    with a limit of their own, for all below them too. Overloaded where the bodies of all requests would be more than
    ``in_flight_bytes`` together; those that may be larger than ``max_bytes`` go to the disk piece by piece and do not
    count.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        elsewhere: Mapping[str, int] = MappingProxyType({}),
        in_flight_bytes: int | None = None,
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._in_flight_bytes = in_flight_bytes
        self._held = 0
        self._elsewhere = elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._elsewhere.get("/".join(scope["path"].split("/")[:2]), self._max_bytes)
        announced = announced_bytes(scope)
        received = 0

        async def bounded() -> Message:
            nonlocal received
            if announced > limit:
                raise _too_large(limit)
            message = await receive()
            size = len(message.get("body", b""))
            received += size
            if limit <= self._max_bytes:
                self._hold(size)
            if received > limit:
                raise _too_large(limit)
            return message

        try:
            await self._app(scope, bounded, send)
        finally:
            if limit <= self._max_bytes:
                self._held -= received

    def _hold(self, size: int) -> None:
        """Count the bytes held in memory until their request is answered."""
        self._held += size
        if self._in_flight_bytes is not None and self._held > self._in_flight_bytes:
            raise Overloaded("Too many large requests are being read already; try again in a moment.")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes.")
