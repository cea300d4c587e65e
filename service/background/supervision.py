"""Run background tasks until they are cancelled, restarting those that fail."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

log = logging.getLogger(__name__)
AGAIN_S = 1.0


async def supervise(run: Callable[[], Awaitable[object]]) -> NoReturn:
    """Run a task for ever, restarting it when it ends or fails.

    Unsupervised, a failed task would be gone silently, and the service would go on without its webhooks or new models.
    """
    while True:
        try:
            await run()
            log.error("%s has ended; starting it again", _name(run))
        except Exception:  # the task's edge
            log.exception("%s failed; starting it again", _name(run))
        await asyncio.sleep(AGAIN_S)


@asynccontextmanager
async def supervised(*runs: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Run each function as its own supervised task within the block."""
    tasks = [asyncio.create_task(supervise(run)) for run in runs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _name(run: Callable[..., object]) -> str:
    return str(getattr(run, "__qualname__", run))
