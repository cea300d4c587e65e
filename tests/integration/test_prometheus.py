"""Several processes' metrics, as a real Prometheus and promtool read them.

Both are those of the Debian package.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.db.database import Database
from core.db.tables import Checkpoint, Model
from core.repositories.jobs import Claim
from tests import ROOT
from tests.conftest import DIGIT_FILES, NOW, missing
from tests.integration.conftest import Programs, wait_for
from tests.integration.test_front_ends import servers_of

BOARD = json.loads((ROOT / "docs" / "grafana.json").read_text())
ASKED = 30
COUNTED = f'tuneserve_requests_total{{method="GET",route="/jobs",status="200"}} {ASKED}.0'


@pytest.fixture
def service(
    programs: Programs, db: Database, published: Callable[..., Model], claimed: Callable[..., Claim]
) -> Programs:
    """Two processes that have answered everything that they count.

    A job of theirs has a checkpoint.
    """
    published()
    claim = claimed()
    with db.write() as session:
        row = Checkpoint(id="c", job_id=claim.job_id, attempt=1, epoch=1, step=1, key="k", metrics={}, size_bytes=1)
        row.created_at = NOW
        session.add(row)
    programs.start("service", TUNESERVE_PROCESSES="2")
    wait_for(lambda: len(servers_of(programs)) == 2, "two processes")
    programs.http.post("/predict", files={"file": DIGIT_FILES[7].read_bytes()})
    for _ in range(ASKED):
        programs.http.get("/jobs")  # a new connection each time, to whichever process takes it
    wait_for(lambda: COUNTED in scrape(programs), "the last one to be counted")
    return programs


def scrape(programs: Programs) -> str:
    return programs.http.get("/metrics").text


def scrapes(programs: Programs) -> list[str]:
    """Scrape often enough that every process answers some of them."""
    return [scrape(programs) for _ in range(12)]


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        missing(f"there is no {name}")
    return path


def test_any_process_tells_what_all_of_them_counted_and_how_all_of_them_are(service: Programs) -> None:
    assert all(COUNTED in answer for answer in scrapes(service))
    wait_for(lambda: "tuneserve_models_loaded 2.0" in scrape(service), "both to have told of their model")
    for answer in scrapes(service):
        assert "tuneserve_models_loaded 2.0\n" in answer
        assert "tuneserve_queue_images 0.0\n" in answer
        assert "tuneserve_serving_refused 0.0\n" in answer


def test_a_process_that_was_killed_keeps_its_counts_and_leaves_its_models(service: Programs) -> None:
    victim = min(servers_of(service))
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(servers_of(service) - {victim}) == 2, "another in its place")
    wait_for(lambda: "tuneserve_models_loaded 2.0" in scrape(service), "the new one to have told of its model")
    assert all(COUNTED in answer and "tuneserve_models_loaded 2.0\n" in answer for answer in scrapes(service))


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.server
def test_promtool_has_nothing_to_say(programs: Programs, published: Callable[..., Model], processes: str) -> None:
    published()
    programs.start("service", TUNESERVE_PROCESSES=processes)
    programs.http.post("/predict", files={"file": DIGIT_FILES[7].read_bytes()})
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=scrape(programs), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.fixture
def prometheus(service: Programs, tmp_path: Path) -> Iterator[httpx.Client]:
    """A Prometheus that scrapes the service each second.

    Its configuration is that of docs/operating.md otherwise.
    """
    told = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "operating.md").read_text(), re.DOTALL)[0]
    config = "global: {scrape_interval: 1s}\n" + told.replace("localhost:8000", f"127.0.0.1:{service.port}")
    (tmp_path / "prometheus.yml").write_text(config)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        program("prometheus"),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'prometheus'}",
        f"--web.listen-address={address}",
    ]
    with (tmp_path / "prometheus.log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
    with httpx.Client(base_url=f"http://{address}/api/v1") as http:
        yield http
    child.terminate()
    child.wait(20)


def asked(prometheus: httpx.Client, path: str, **params: str) -> Any:
    """The data of an answer; None while it does not listen."""
    try:
        answer = prometheus.get(path, params=params)
    except httpx.TransportError:
        return None
    return answer.json()["data"] if answer.is_success else None


def value(prometheus: httpx.Client, query: str) -> float | None:
    """Return the value of the one series; None while there is none."""
    found = asked(prometheus, "/query", query=query)
    return float(found["result"][0]["value"][1]) if found and found["result"] else None


@pytest.mark.server
def test_a_real_prometheus_scrapes_what_the_dashboard_shows(prometheus: httpx.Client) -> None:
    counted = 'sum(tuneserve_requests_total{route="/jobs"})'
    assert wait_for(lambda: value(prometheus, counted), "the first scrape") == ASKED
    (target,) = asked(prometheus, "/targets")["activeTargets"]
    assert (target["health"], target["lastError"], target["labels"]["job"]) == ("up", "", "tuneserve")
    assert value(prometheus, "tuneserve_jobs{status='running'}") == 1
    assert shown() - set(asked(prometheus, "/label/__name__/values")) == set()


def shown() -> set[str]:
    queries = [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", [])]
    return set(re.findall(r"tuneserve_\w+", " ".join(queries)))
