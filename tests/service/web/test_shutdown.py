"""service.web.shutdown: nothing that is still being answered keeps a server that is told to stop."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from service.web.shutdown import pause, told_by_signals


@pytest.fixture
def told() -> Iterator[list[int]]:
    """What the server's own handler was told."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGTERM, before)


async def test_the_signal_that_stops_the_server_is_heard_by_both(told: list[int]) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with told_by_signals() as stopping:
        os.kill(os.getpid(), signal.SIGTERM)
        await pause(stopping, 30)
        assert stopping.is_set()
    assert told == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is handler


async def test_a_signal_that_nobody_handles_goes_on_killing() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with told_by_signals():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGTERM, before)


def test_outside_of_the_main_thread_no_handler_is_touched(told: list[int]) -> None:
    handler, seen = signal.getsignal(signal.SIGTERM), list[object]()

    async def look() -> None:
        with told_by_signals() as stopping:
            seen.extend((signal.getsignal(signal.SIGTERM), stopping.is_set()))

    thread = threading.Thread(target=lambda: asyncio.run(look()))
    thread.start()
    thread.join()
    assert seen == [handler, False]


async def test_a_pause_is_over_in_time_too() -> None:
    await pause(asyncio.Event(), 0.001)
