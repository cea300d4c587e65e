"""service.middleware.conditional_requests: what a client has already is not sent again."""

from collections.abc import Callable

import httpx

from core.db.tables import Model
from core.settings import Settings
from tests.conftest import running


async def test_a_file_that_the_client_has_is_not_sent_again(
    settings: Settings, published: Callable[..., Model]
) -> None:
    model = published()
    paths = ("/", "/page/main.js", f"/models/{model.id}/content?format=onnx")
    async with running(settings) as http:
        for path in paths:
            first = await http.get(path)
            etag = first.headers["etag"]
            assert len(first.content) > 100
            for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
                for method in ("GET", "HEAD"):
                    again = await http.request(method, path, headers={"If-None-Match": known})
                    assert (path, again.status_code, again.content) == (path, 304, b"")
                    assert again.headers["etag"] == etag
                    assert "content-length" not in again.headers
            for unknown in ('"other"', etag.strip('"'), ""):
                assert (await http.get(path, headers={"If-None-Match": unknown})).content == first.content
            part = {"Range": "bytes=0-9"}
            assert (await http.get(path, headers=part)).status_code == 206 or path == "/page/main.js"
            assert (await http.get(path, headers=part | {"If-None-Match": etag})).status_code == 304


async def test_answers_without_a_tag_are_sent_whatever_the_client_knows(http: httpx.AsyncClient) -> None:
    assert (await http.get("/jobs", headers={"If-None-Match": "*"})).status_code == 200
    assert (await http.post("/jobs", json={}, headers={"If-None-Match": "*"})).status_code == 202
