"""What the service does besides answering: tasks that run until they are cancelled, whatever goes wrong in them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

log = logging.getLogger(__name__)
AGAIN_S = 1.0


async def for_ever(run: Callable[[], Awaitable[object]]) -> NoReturn:
    """Run it, and again when it ends: a task that fails would be gone without a word, and the service would go on
    without its webhooks or new models.
    """
    while True:
        try:
            await run()
            log.error("%s has ended; starting it again", _name(run))
        except Exception:  # the task's edge
            log.exception("%s failed; starting it again", _name(run))
        await asyncio.sleep(AGAIN_S)


def _name(run: Callable[..., object]) -> str:
    return str(getattr(run, "__qualname__", run))
