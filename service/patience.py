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


async def while_wanted(request: Request, work: Coroutine[Any, Any, T], timeout_ms: int | None) -> T:
    """The result of ``work``; it is cancelled when the client leaves (ClientLeft) or waits no longer
    (DeadlineExceeded). To be called when the request's body has been read.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnect(request))
    try:
        timeout_s = None if timeout_ms is None else timeout_ms / 1000
        done, _ = await asyncio.wait({working, leaving}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if working in done:
            return working.result()
        if leaving in done:
            raise ClientLeft
        raise DeadlineExceeded(f"There was no answer within the {timeout_ms} ms of X-Timeout-Ms.")
    finally:
        working.cancel()  # no effect on what is done
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


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
