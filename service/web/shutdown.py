"""Ends long answers when the server begins to stop: it waits for every answer, and a stream has no end of its own."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)
Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def told_by_signals() -> Iterator[asyncio.Event]:
    """An event that the first signal sets on which the server stops. The server tells the application too late: when
    the last answer is over. Its handlers are there before the application starts, and are called as ever.
    """
    stopping, loop, handlers = asyncio.Event(), asyncio.get_running_loop(), _handlers()

    def tell(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)
        handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, tell)
    try:
        yield stopping
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """So long, or until the server stops."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()


def _handlers() -> dict[int, Handler]:
    """None outside of the main thread, which alone may set them; none where a signal simply kills."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))}
