"""Answer a request when what it waits for has happened."""

import time
from collections.abc import Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from core.repositories.api_keys import Caller
from service.api.dependencies import State
from service.web.shutdown import pause

T = TypeVar("T")
POLL_S = 0.25


async def poll_until(
    done: Callable[[T], bool], look: Callable[[], T], wait_s: float, service: State, caller: Caller | None
) -> T:
    """Call ``look`` until its result is ``done``; return its last result.

    ``look`` blocks, so it runs in a thread. Polling ends after ``wait_s`` too, and when the server stops. Raise
    Unauthorized when the caller's key is revoked.
    """
    until = time.monotonic() + wait_s
    while True:
        seen = await run_in_threadpool(look)
        if done(seen) or time.monotonic() >= until or service.stopping.is_set():
            return seen
        await pause(service.stopping, POLL_S)
        service.access.require(caller)
