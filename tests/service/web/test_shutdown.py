"""service.web.shutdown: open answers do not keep a server from stopping."""

import asyncio
from typing import Any

import httpx
import pytest
import uvicorn

from service.api.routes.jobs import jobs as routes
from service.api.schemas.jobs import JobView
from service.web.shutdown import pause

RECIPE = {"dataset": "digits", "network": "resnet18"}


def test_a_stream_ends_cleanly_when_its_server_stops(server: uvicorn.Server, live: str) -> None:
    path = httpx.post(f"{live}/jobs", json=RECIPE).json()["links"]["events"]
    with httpx.stream("GET", f"{live}{path}", headers={"Accept": "text/event-stream"}, timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: status"
        server.should_exit = True
        rest = list(lines)  # a connection that is cut raises
    assert "event: done" not in rest


def test_a_request_that_waits_for_an_end_is_answered_when_its_server_stops(
    server: uvicorn.Server, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = routes._job

    def look_and_stop(*given: Any) -> JobView:
        server.should_exit = True
        return look(*given)

    path = httpx.post(f"{live}/jobs", json=RECIPE).json()["links"]["self"]
    monkeypatch.setattr(routes, "_job", look_and_stop)
    answer = httpx.get(f"{live}{path}", params={"wait": 60}, timeout=30)
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")


async def test_a_pause_is_over_in_time_too() -> None:
    await pause(asyncio.Event(), 0.001)
