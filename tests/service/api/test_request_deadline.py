"""service.api.request_deadline: work ends with its client or its deadline."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from fastapi import Request

from core.errors import ClientClosedRequest, DeadlineExceeded, Overloaded
from service.api import request_deadline as module
from service.api.request_deadline import request_deadline

T = TypeVar("T")
PATIENCE_S = 20.0  # so that a deadline that is not kept fails its test, and does not hang it


class Client:
    """The other end of a request; it can leave.

    The request's body has been read.
    """

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.asked = False
        self.request = Request({"type": "http", "method": "POST", "path": "/predict", "headers": []}, self._receive)

    async def _receive(self) -> dict[str, Any]:
        self.asked = True
        await self.left.wait()
        return {"type": "http.disconnect"}


async def while_wanted(request: Request, work: Coroutine[Any, Any, T], timeout_ms: int | None) -> T:
    async with asyncio.timeout(PATIENCE_S), request_deadline(request, timeout_ms) as disconnect:
        disconnect.start()
        return await work


class Work:
    """Waits until it is released, and tells how it ended."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.cancelled = False

    async def run(self) -> str:
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "done"


async def test_what_is_done_in_time_is_given_out() -> None:
    work = Work()
    work.released.set()
    assert await while_wanted(Client().request, work.run(), 10_000) == "done"
    assert not work.cancelled


async def test_without_a_deadline_it_may_take_its_time() -> None:
    work = Work()
    asyncio.get_running_loop().call_later(0.05, work.released.set)
    assert await while_wanted(Client().request, work.run(), None) == "done"


async def test_work_that_takes_too_long_is_cancelled_and_the_client_told() -> None:
    work = Work()
    with pytest.raises(DeadlineExceeded, match="20 ms"):
        await while_wanted(Client().request, work.run(), 20)
    await asyncio.sleep(0)
    assert work.cancelled


async def test_work_for_a_client_that_left_is_cancelled() -> None:
    client, work = Client(), Work()
    asyncio.get_running_loop().call_soon(client.left.set)
    with pytest.raises(ClientClosedRequest):
        await while_wanted(client.request, work.run(), None)
    await asyncio.sleep(0)
    assert work.cancelled


async def test_an_error_of_the_work_is_the_clients() -> None:
    async def fail() -> None:
        raise Overloaded

    with pytest.raises(Overloaded):
        await while_wanted(Client().request, fail(), 10_000)


async def test_a_time_limit_of_the_work_itself_is_not_the_clients() -> None:
    async def give_up() -> None:
        raise TimeoutError("the work's own")

    with pytest.raises(TimeoutError, match="the work's own"):
        await while_wanted(Client().request, give_up(), 10_000)


async def test_nothing_goes_on_listening_for_a_client_that_was_answered() -> None:
    work = Work()
    work.released.set()
    await while_wanted(Client().request, work.run(), None)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_before_its_body_is_read_nothing_is_taken_from_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_AFTER_S", 0)
    client = Client()
    async with request_deadline(client.request, None) as disconnect:
        await turns()
        assert not client.asked
        disconnect.start()
        await turns()
        assert client.asked


async def turns() -> None:
    """Let the event loop run until nothing is ready."""
    for _ in range(5):
        await asyncio.sleep(0)
