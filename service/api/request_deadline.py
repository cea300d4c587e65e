"""Cancel a request when its client disconnects or its deadline passes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from core.errors import ClientClosedRequest, DeadlineExceeded

WATCH_AFTER_S = 0.05  # most answers come earlier; to wait for the client's leaving is a task more for each


class DisconnectWatch:
    """Ends ``limit`` when the client of ``request`` leaves."""

    def __init__(self, request: Request, limit: asyncio.Timeout) -> None:
        self._request = request
        self._limit = limit
        self._starting: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None

    @property
    def has_left(self) -> bool:
        return self._leaving is not None and self._leaving.done() and not self._leaving.cancelled()

    def start(self) -> None:
        """Watch for a disconnect from now on.

        Call it once the body is read: it comes the same way, and reports a disconnect itself.
        """
        self._starting = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._start)

    def stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        if self._leaving is not None:
            self._leaving.cancel()

    def _start(self) -> None:
        self._leaving = asyncio.ensure_future(self._disconnect())

    async def _disconnect(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._limit.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def request_deadline(request: Request, timeout_ms: int | None) -> AsyncIterator[DisconnectWatch]:
    """Cancel the block when the client leaves or ``timeout_ms`` pass.

    Raise ClientClosedRequest in the first case, DeadlineExceeded in the second. Yields the watch for the client's
    leaving, which the block starts.
    """
    limit = asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000)
    watch = DisconnectWatch(request, limit)
    try:
        async with limit:
            try:
                yield watch
            finally:
                watch.stop()
    except TimeoutError:
        if not limit.expired():  # the block's own
            raise
        if watch.has_left:
            raise ClientClosedRequest from None
        raise DeadlineExceeded(f"There was no answer within the {timeout_ms} ms of X-Timeout-Ms.") from None
