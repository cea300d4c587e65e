"""HEAD is answered where GET is; Allow names a path's methods."""

import re

import httpx
import uvicorn

from core.settings import Settings
from service.app import create_app
from tests.service.test_security import all_routes

FILLED = {"job_id": "job_x", "name": "mnist", "reference": "model_x", "alias": "serving", "batch_id": "batch_x"}


def paths(settings: Settings, method: str) -> list[str]:
    """List the contract's paths that have this method.

    Each parameter gets some value.
    """
    found = [route.path for route in all_routes(create_app(settings).routes) if method in (route.methods or ())]
    return [re.sub(r"\{(\w+)(:\w+)?\}", lambda name: FILLED.get(name[1], "x"), path) for path in found]


async def test_head_is_what_get_is_without_its_body(settings: Settings, http: httpx.AsyncClient) -> None:
    asked = [*paths(settings, "GET"), "/docs", "/openapi.json", "/page/main.js"]
    assert len(asked) > 40
    for path in asked:
        get, head = await http.get(path), await http.head(path)
        assert (path, head.status_code, head.content) == (path, get.status_code, b"")
        for name in ("content-type", "allow", "etag", "content-security-policy"):
            assert head.headers.get(name) == get.headers.get(name), path


async def test_a_head_is_counted_as_one(http: httpx.AsyncClient) -> None:
    await http.head("/jobs")
    assert 'tuneserve_requests_total{method="HEAD",route="/jobs",status="200"}' in (await http.get("/metrics")).text


def test_the_head_of_a_stream_ends(server: uvicorn.Server, live: str) -> None:
    job = httpx.post(f"{live}/jobs", json={"dataset": "digits", "network": "resnet18"}).json()
    with httpx.Client(base_url=live, timeout=20) as http:
        for _ in range(2):  # on one connection
            answer = http.head(job["links"]["events"], headers={"Accept": "text/event-stream"})
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["content-type"].startswith("text/event-stream")


async def test_allow_names_every_method_of_the_path(http: httpx.AsyncClient) -> None:
    allowed = {
        "/jobs": "GET, HEAD, POST",
        "/predict": "POST",
        "/livez": "GET, HEAD",
        "/uploads/x": "DELETE, HEAD, PATCH",
        "/uploads": "GET, HEAD, OPTIONS, POST",
        "/datasets/pets": "DELETE, GET, HEAD",
        "/models/digits/aliases/mine": "DELETE, PUT",
        "/page/main.js": "GET, HEAD",
    }
    for path, methods in allowed.items():
        answer = await http.request("BREW", path)
        assert (path, answer.status_code, answer.headers["allow"]) == (path, 405, methods)
        assert answer.json()["code"] == "method_not_allowed"


async def test_no_redirect_tells_the_host_that_it_was_asked_by(http: httpx.AsyncClient) -> None:
    for path in ("/jobs/", "/predict/", "/livez/", "/docs/"):
        answer = await http.get(path, headers={"X-Forwarded-Prefix": "/tune"})
        assert (path, answer.status_code, "location" in answer.headers) == (path, 404, False)
        assert f"did you mean {path[:-1]}?" in answer.json()["detail"]
