"""The files of the page: open to everybody, never stale, and complete."""

import posixpath
import re
from pathlib import Path

import httpx

from core.settings import Settings
from service.api.routes.ui import FOLDER
from tests.conftest import running

FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.*"))
TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".txt": "text/plain",
}
LICENCES = {"style/fonts/OFL.txt"}  # goes with its font


async def test_the_page_is_at_the_root(http: httpx.AsyncClient) -> None:
    answer = await http.get("/")
    assert answer.status_code == 200
    assert answer.text == (FOLDER / "index.html").read_text()


async def test_no_script_runs_but_those_of_its_files(http: httpx.AsyncClient) -> None:
    answer = await http.get("/")
    assert "unsafe-inline" not in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"  # the others are as everywhere
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert re.findall(r"<script(?![^>]*src=)|<style| on\w+=| style=", answer.text) == []


async def test_a_browser_asks_for_each_file_again(http: httpx.AsyncClient) -> None:
    for name in FILES:
        answer = await http.get(f"/page/{name}")
        assert answer.headers["cache-control"] == "no-cache", name
        assert answer.headers["content-type"].startswith(TYPES[Path(name).suffix]), name
        again = await http.get(f"/page/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache"), name


def test_every_file_is_used_and_every_used_one_is_there() -> None:
    text = {name: (FOLDER / name).read_text() for name in FILES if not name.endswith(".woff2")}
    used = set(re.findall(r'"page/([^"]+)"', text["index.html"]))
    for name, content in text.items():
        named = re.findall(r'(?:from |import\(|url\()"([^"]+)"', content)
        used |= {_beside(name, other) for other in named if other.startswith(".") or name.endswith(".css")}
    assert used | {"index.html"} | LICENCES == set(FILES)


def _beside(name: str, relative: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), relative))


async def test_what_is_not_of_the_page_is_not_reached_through_it(settings: Settings) -> None:
    keyed = Settings(data_dir=settings.data_dir, api_keys="boss:admin:ts_a_long_secret_of_the_boss")
    async with running(keyed) as http:
        for path in ("/page/..%2fapp.py", "/page/%2e%2e/jobs", "/page/nothing.js", "/page/"):
            assert (await http.get(path)).status_code in (401, 404), path
