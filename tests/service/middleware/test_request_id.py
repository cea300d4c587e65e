"""service.middleware.request_id: an id and a line in the log for every request."""

import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from service.middleware.request_id import RequestId
from service.web import problems


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.add_middleware(RequestId)

    @app.get("/livez")
    @app.get("/unread")
    def unread() -> str:
        return "fine"

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_a_given_id_comes_back(http: httpx.AsyncClient) -> None:
    answer = await http.get("/unread", headers={"X-Request-Id": "order-66/b"})
    assert answer.headers["x-request-id"] == "order-66/b"


async def test_an_id_is_made_up_and_no_two_are_alike(http: httpx.AsyncClient) -> None:
    ids = {(await http.get("/unread")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20
    assert "" not in ids


@pytest.mark.parametrize("given", ["", "x" * 129, "with space", "a\tb"])
async def test_an_id_that_would_spoil_the_log_is_replaced(http: httpx.AsyncClient, given: str) -> None:
    answer = await http.get("/unread", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] not in ("", given)


async def test_the_problem_names_the_same_id_as_the_header(http: httpx.AsyncClient) -> None:
    answer = await http.get("/nothing")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_each_request_is_logged_with_its_id(http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "service.access"):
        await http.get("/nothing", headers={"X-Request-Id": "mine"})
    (message,) = [record.getMessage() for record in caplog.records if record.name == "service.access"]
    assert message.startswith("GET /nothing 404 ")


async def test_a_probe_that_succeeds_is_not_logged(http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "service.access"):
        assert (await http.get("/livez")).status_code == 200
        assert (await http.post("/livez")).status_code == 405
    messages = [record.getMessage() for record in caplog.records if record.name == "service.access"]
    assert [message.split(" ")[:3] for message in messages] == [["POST", "/livez", "405"]]
