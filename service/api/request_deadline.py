"""How long an answer is worked on: while the client is there, and no longer than it wants to wait."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from core.errors import ClientClosedRequest, DeadlineExceeded
from service.web.shutdown import pause

T = TypeVar("T")
POLL_S = 0.25
WATCH_AFTER_S = 0.05  # most answers come sooner; to listen for the client's leaving is a task more for each


class Patience:
    """``async with``: what is within is cancelled when the client leaves (ClientClosedRequest) or has waited
    ``timeout_ms`` since the beginning (DeadlineExceeded).
    """

    def __init__(self, request: Request, timeout_ms: int | None) -> None:
        self._request = request
        self._timeout_ms = timeout_ms
        self._limit = asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000)
        self._watching: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """From now on look whether the client leaves: when the request's body has been read, which comes the same
        way, and tells of a client that left by itself.
        """
        self._watching = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._watch)

    def _watch(self) -> None:
        self._leaving = asyncio.ensure_future(self._disconnect())

    async def _disconnect(self) -> None:
        """Ends the time as soon as the client has left."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._limit.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> "Patience":
        await self._limit.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        has_left = self._leaving is not None and self._leaving.done()
        if self._watching is not None:
            self._watching.cancel()
        if self._leaving is not None:
            self._leaving.cancel()
        try:
            await self._limit.__aexit__(*error)
        except TimeoutError:
            if has_left:
                raise ClientClosedRequest from None
            raise DeadlineExceeded(f"There was no answer within the {self._timeout_ms} ms of X-Timeout-Ms.") from None


async def once(done: Callable[[T], bool], look: Callable[[], T], wait_s: float, stopping: asyncio.Event) -> T:
    """What ``look``, which blocks, sees as soon as it is ``done``; what it sees by then, after that time or when the
    server stops.
    """
    until = time.monotonic() + wait_s
    while True:
        seen = await run_in_threadpool(look)
        if done(seen) or time.monotonic() >= until or stopping.is_set():
            return seen
        await pause(stopping, POLL_S)
