"""Several processes answer on one port; a real Prometheus and promtool read the metrics.

Both are those of the Debian package. The tests share a service and run in this order: the last ones kill a process and
stop it.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Checkpoint, Model, Worker
from core.recipes.recipe import Recipe
from core.repositories import jobs, workers
from core.settings import Settings
from tests import ROOT
from tests.conftest import NOW, missing, publisher
from tests.integration.asking import SEVEN
from tests.integration.conftest import Programs, programs_in, wait_for

BOARD = json.loads((ROOT / "docs" / "grafana.json").read_text())
ASKED = 30
COUNTED = f'tuneserve_requests_total{{method="GET",route="/jobs",status="200"}} {ASKED}.0'


@dataclass(frozen=True)
class Service:
    """A service of one or more processes, with a database that the tests write to."""

    programs: Programs
    db: Database
    published: Callable[..., Model]
    first: Model


@contextmanager
def started(folder: Path, weights: npt.NDArray[np.float32], processes: int) -> Iterator[Service]:
    """Start a service that serves a model; a job of its has a checkpoint."""
    settings = Settings(data_dir=folder)
    db = Database(settings.resolved_database_url)
    with programs_in(folder) as programs:
        db.migrate()
        published = publisher(db, LocalStore(folder), weights)
        first = published()
        training(db)
        programs.start("service", TUNESERVE_PROCESSES=str(processes))
        programs.http.post("/predict", files={"file": SEVEN})
        yield Service(programs, db, published, first)
    db.close()


def training(db: Database) -> None:
    """Write a running job with a checkpoint."""
    with db.write() as session:
        workers.register(session, Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
        jobs.enqueue(session, Recipe(), NOW, queue_limit=1)
        claim = jobs.claim(session, "worker_a", NOW)
        assert claim is not None
        row = Checkpoint(id="c", job_id=claim.job_id, attempt=1, epoch=1, step=1, key="k", metrics={}, size_bytes=1)
        row.created_at = NOW
        session.add(row)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, digit_weights: npt.NDArray[np.float32]) -> Iterator[Service]:
    """A service of one process."""
    with started(tmp_path_factory.mktemp("alone"), digit_weights, processes=1) as service:
        yield service


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, digit_weights: npt.NDArray[np.float32]) -> Iterator[Service]:
    """Two processes that have answered everything that they count."""
    with started(tmp_path_factory.mktemp("both"), digit_weights, processes=2) as service:
        wait_for(lambda: len(servers_of(service.programs)) == 2, "two processes")
        for _ in range(ASKED):
            service.programs.http.get("/jobs")  # a new connection each time, to whichever process takes it
        wait_for(lambda: COUNTED in scrape(service.programs), "the last one to be counted")
        yield service


@pytest.fixture
def service(both: Service) -> Programs:
    return both.programs


def children_of(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def servers_of(programs: Programs) -> set[int]:
    """List the living processes that answer, as the log names them."""
    lines = (programs.data_dir / "service.log").read_text().splitlines()
    started = {int(line.split()[3]) for line in lines if "Application startup complete" in line}
    return started & children_of(programs.children[0].pid)


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


@pytest.mark.parametrize("processes", ["alone", "both"])
@pytest.mark.server
def test_promtool_has_nothing_to_say(request: pytest.FixtureRequest, processes: str) -> None:
    metrics = scrape(request.getfixturevalue(processes).programs)
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=metrics, capture_output=True, text=True, check=False
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


def test_a_process_that_was_killed_is_replaced_keeps_its_counts_and_leaves_its_models(service: Programs) -> None:
    victim = min(servers_of(service))
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(servers_of(service) - {victim}) == 2, "another in its place")
    assert {service.http.get("/livez").status_code for _ in range(20)} == {200}
    wait_for(lambda: "tuneserve_models_loaded 2.0" in scrape(service), "the new one to have told of its model")
    assert all(COUNTED in answer and "tuneserve_models_loaded 2.0\n" in answer for answer in scrapes(service))


def test_a_rollback_reaches_every_process(both: Service) -> None:
    """A rollback reaches every process.

    Only one of them hears the call; the others look for themselves, twice a second.
    """
    programs, first = both.programs, both.first
    log = programs.data_dir / "service.log"

    def swaps_to(model: Model) -> int:
        return log.read_text().count(f"serving digits/{model.version}, {model.id}")

    before = swaps_to(first)
    second = both.published()
    wait_for(lambda: swaps_to(second) == 2, "both to serve the second")
    programs.http.put("/models/digits/aliases/serving", json={"version": first.version})
    wait_for(lambda: swaps_to(first) == before + 2, "both to serve the first again")
    assert {programs.predicting() for _ in range(30)} == {first.id}  # a new connection each time


@pytest.mark.parametrize("processes", ["alone", "both"])
def test_a_service_that_is_told_to_stop_ends_its_streams_cleanly(
    request: pytest.FixtureRequest, processes: str
) -> None:
    programs: Programs = request.getfixturevalue(processes).programs
    url = f"{programs.url}/jobs/{programs.train()}/events"
    with httpx.stream("GET", url, headers={"Accept": "text/event-stream"}, timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: status"
        programs.newest["service"].terminate()
        rest = list(lines)  # a connection that is cut raises
    assert "event: done" not in rest
    programs.newest["service"].wait(60)
    assert "graceful shutdown exceeded" not in (programs.data_dir / "service.log").read_text()
