"""The service below a path of a real nginx.

It is the Debian package, configured as docs/operating.md says.
"""

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from core.db.tables import Model
from tests import ROOT
from tests.conftest import DIGIT_FILES, missing
from tests.integration.conftest import Programs, wait_for

(LOCATION,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "operating.md").read_text(), re.DOTALL)
LEFT = "location /tune/ { proxy_pass http://127.0.0.1:8000; }"  # the prefix stays: TUNESERVE_ROOT_PATH removes it
CONFIGURATION = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; {location} }}
}}
"""


@contextmanager
def nginx(folder: Path, location: str, service: Programs) -> Iterator[httpx.Client]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin") or missing("there is no nginx")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = location.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
    (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, port=port, location=told))
    child = subprocess.Popen([program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", "nginx.conf"])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            wait_for(lambda: is_there(http), "nginx to answer")
            yield http
    finally:
        child.terminate()
        child.wait(20)


def is_there(http: httpx.Client) -> bool:
    try:
        return http.get("/tune/livez").is_success
    except httpx.TransportError:
        return False


def linked(text: str) -> list[str]:
    return re.findall(r"(?:(?<=src=\")|(?<=href=\")|(?<=url: '))[^\"'#]+", text)


def visited(http: httpx.Client) -> None:
    """Visit what a browser would: pages, links, a prediction, a job.

    The pages are the page and /docs, with all that they link; the job is looked up where it lies.
    """
    for page in ("/tune/", "/tune/docs"):
        seen = http.get(page)
        assert seen.status_code == 200, page
        assert len(linked(seen.text)) >= 3
        for path in linked(seen.text):
            there = httpx.URL(f"http://lab{page}").join(path).path
            assert there.startswith("/tune/"), path
            assert http.get(there).status_code == 200, path
    assert http.get("/tune/openapi.json").json()["servers"] == [{"url": "/tune"}]
    own = {"Origin": str(http.base_url).rstrip("/")}  # what a browser sends with each POST of the page
    large = {"file": DIGIT_FILES[7].read_bytes() + bytes(2**21)}  # nginx's own limit is 1 MiB
    assert http.post("/tune/predict", files=large, headers=own).json()["predictions"][0]["label"]
    made = http.post("/tune/jobs", json={"dataset": "digits"}, headers=own)
    assert made.headers["location"] == f"/tune/jobs/{made.json()['id']}"
    assert http.get(made.headers["location"]).json()["id"] == made.json()["id"]
    with http.stream("GET", f"{made.headers['location']}/events", headers={"Accept": "text/event-stream"}) as stream:
        assert "event: status" in next(stream.iter_text())  # at once: nothing waits in nginx for more


@pytest.mark.server
def test_everything_works_below_a_path_of_nginx(
    programs: Programs, published: Callable[..., Model], tmp_path: Path
) -> None:
    model = published()
    programs.start("service")
    programs.served(model.id)
    with nginx(tmp_path, LOCATION, programs) as http:
        visited(http)
        other = http.post("/tune/jobs", json={}, headers={"Origin": "https://evil.example"})
        assert (other.status_code, other.json()["code"]) == (403, "cross_site")


@pytest.mark.server
def test_everything_works_where_nginx_leaves_the_prefix(
    programs: Programs, published: Callable[..., Model], tmp_path: Path
) -> None:
    model = published()
    programs.start("service", TUNESERVE_ROOT_PATH="/tune")
    programs.served(model.id)
    with nginx(
        tmp_path, LEFT.replace("}", "proxy_set_header Host $http_host; client_max_body_size 8m; }"), programs
    ) as http:
        visited(http)
