"""service.middleware.body_limit: a bound on the body of a request."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request

from service.middleware.body_limit import BodyLimit
from service.web import problems

LIMIT = 100


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=LIMIT)

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.post("/json")
    def parsed(body: dict[str, str]) -> int:
        return len(body)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def parts(size: int) -> AsyncIterator[bytes]:
    """A body whose length is not announced."""
    for _ in range(size // 10):
        yield b"x" * 10


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_of_just_the_limit_passes(http: httpx.AsyncClient, announced: bool) -> None:
    answer = await http.post("/length", content=b"x" * LIMIT if announced else parts(LIMIT))
    assert (answer.status_code, answer.json()) == (200, LIMIT)


@pytest.mark.parametrize("path", ["/length", "/json"])
@pytest.mark.parametrize("announced", [True, False])
async def test_a_larger_body_is_refused(http: httpx.AsyncClient, announced: bool, path: str) -> None:
    content = b"x" * (LIMIT + 10) if announced else parts(LIMIT + 10)
    answer = await http.post(path, content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert str(LIMIT) in answer.json()["detail"]


async def test_an_announced_length_is_refused_before_anything_is_read(http: httpx.AsyncClient) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(50):
            read += 1
            yield b"x" * 10

    answer = await http.post("/length", content=body(), headers={"Content-Length": "500"})
    assert (answer.status_code, read) == (413, 0)


async def test_an_endless_body_is_not_read_to_its_end(http: httpx.AsyncClient) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100 * LIMIT):  # as good as endless
            read += 10
            yield b"x" * 10

    answer = await http.post("/length", content=body())
    assert answer.status_code == 413
    assert read <= LIMIT + 20


async def test_a_length_that_lies_does_not_help(http: httpx.AsyncClient) -> None:
    answer = await http.post("/length", content=parts(500), headers={"Content-Length": "10"})
    assert answer.status_code == 413


@pytest.mark.parametrize("length", ["abc", "-5", "1e9", "²"])
async def test_a_length_that_is_no_number_is_not_believed(http: httpx.AsyncClient, length: str) -> None:
    headers = {b"Content-Length": length.encode("latin-1")}
    answer = await http.post("/length", content=parts(50), headers=list(headers.items()))
    assert (answer.status_code, answer.json()) == (200, 50)


async def test_all_bodies_together_have_a_bound_until_their_answers() -> None:
    app = FastAPI()
    problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=LIMIT, elsewhere={"/disk": 10 * LIMIT}, in_flight_bytes=150)
    go, held = asyncio.Event(), asyncio.Event()

    @app.post("/waits")
    async def waits(request: Request) -> int:
        size = len(await request.body())
        held.set()
        await go.wait()
        return size

    @app.post("/{anywhere}")
    async def length(request: Request) -> int:
        return len(await request.body())

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        first = asyncio.create_task(http.post("/waits", content=b"x" * 100))
        await asyncio.wait_for(held.wait(), 20)
        for _ in range(3):  # what was refused is not counted either
            refused = await http.post("/length", content=b"x" * 100)
            assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
            assert int(refused.headers["retry-after"]) > 0
        assert (await http.post("/length", content=b"x" * 50)).json() == 50
        assert (await http.post("/disk", content=b"x" * 500)).json() == 500  # of these no more than a piece is held
        go.set()
        assert (await first).json() == 100
        for _ in range(3):
            assert (await http.post("/length", content=b"x" * 100)).json() == 100
