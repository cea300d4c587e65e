"""How long an answer is worked on: while the client is there, and no longer than it wants to wait."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from core.errors import ClientLeft, DeadlineExceeded
from service.stopping import pause

T = TypeVar("T")
POLL_S = 0.25
WATCH_AFTER_S = 0.05  # most answers come sooner; to listen for the client's leaving is a task more for each


async def while_wanted(request: Request, work: Coroutine[Any, Any, T], timeout_ms: int | None) -> T:
    """The result of ``work``; it is cancelled when the client leaves (ClientLeft) or waits no longer
    (DeadlineExceeded). To be called when the request's body has been read.
    """
    loop = asyncio.get_running_loop()
    leaving: asyncio.Task[None] | None = None

    def watch() -> None:
        nonlocal leaving
        leaving = asyncio.ensure_future(_disconnect(request, limit))

    watching = loop.call_later(WATCH_AFTER_S, watch)
    try:
        async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000) as limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        if leaving is not None and leaving.done():
            raise ClientLeft from None
        raise DeadlineExceeded(f"There was no answer within the {timeout_ms} ms of X-Timeout-Ms.") from None
    finally:
        watching.cancel()
        if leaving is not None:
            leaving.cancel()


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


async def _disconnect(request: Request, limit: asyncio.Timeout) -> None:
    """Ends the time as soon as the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    limit.reschedule(asyncio.get_running_loop().time())
