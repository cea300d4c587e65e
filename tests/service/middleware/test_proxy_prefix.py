"""service.middleware.proxy_prefix: page, /docs and locations below a proxy's path.

The headers are those of nginx.
"""

import re

import httpx
import pytest

from core.settings import Settings
from tests.conftest import running

# what `proxy_set_header` of nginx usually sends; `location /tune/ { proxy_pass http://service/; }` strips the prefix
NGINX = {"Host": "lab.example", "X-Forwarded-For": "10.0.0.7", "X-Forwarded-Proto": "https"}
BY_HEADER = NGINX | {"X-Forwarded-Prefix": "/tune"}


def linked(text: str) -> list[str]:
    return re.findall(r"(?:(?<=src=\")|(?<=href=\")|(?<=url: '))[^\"'#]+", text)


async def visited(http: httpx.AsyncClient, prefix: str, headers: dict[str, str]) -> None:
    """Visit the pages and links as a browser behind a proxy.

    It requests /tune/..., and the proxy passes on what comes after ``prefix``.
    """
    for page in ("", "docs"):
        seen = await http.get(f"{prefix}/{page}", headers=headers)
        assert seen.status_code == 200, page
        assert len(linked(seen.text)) >= 3
        for path in linked(seen.text):
            assert not path.startswith(("/", "http")), path  # it would leave the proxy's path
            assert (await http.get(f"{prefix}/{path}", headers=headers)).status_code == 200, path
    document = (await http.get(f"{prefix}/openapi.json", headers=headers)).json()
    assert document["servers"] == [{"url": "/tune"}]
    made = await http.post(f"{prefix}/jobs", json={"dataset": "digits"}, headers=headers)
    assert made.headers["location"] == f"/tune/jobs/{made.json()['id']}"
    assert (await http.get(f"{prefix}/livez", headers=headers)).json() == {"status": "alive"}
    assert (await http.get(f"{prefix}/jobs/", headers=headers)).status_code == 404


@pytest.mark.parametrize("prefix", ["", "/tune"], ids=["stripped", "left"])
async def test_everything_works_behind_a_proxy(settings: Settings, prefix: str) -> None:
    behind = settings.model_copy(update={"allowed_hosts": ("lab.example",)})
    async with running(behind) as http:
        await visited(http, prefix, BY_HEADER)
    async with running(behind.model_copy(update={"root_path": "/tune/"})) as http:
        await visited(http, prefix, NGINX)


async def test_a_prefix_that_is_no_path_is_not_repeated(http: httpx.AsyncClient) -> None:
    for odd in ("//evil.example", "/a//b", "https://evil.example", "tune", "/a b", "/" + "a" * 300, "/\xff"):
        headers = [(b"X-Forwarded-Prefix", odd.encode("latin-1"))]
        made = await http.post("/jobs", json={"dataset": "digits"}, headers=headers)
        assert made.headers["location"] == f"/jobs/{made.json()['id']}", odd
    assert "servers" not in (await http.get("/openapi.json")).json()


async def test_without_a_proxy_nothing_is_prefixed(http: httpx.AsyncClient) -> None:
    assert (await http.get("/tune/livez")).status_code == 404


@pytest.mark.parametrize("path", ["tune", "/tune//x", "//evil", "/a b"])
def test_a_root_path_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("TUNESERVE_ROOT_PATH", path)
    with pytest.raises(ValueError, match="root_path"):
        Settings()
