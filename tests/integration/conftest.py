"""A real service and worker, as processes on their own port."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from core.settings import Settings
from tests import ROOT

# A small network, exported in 3 s where others take 10, on a few images: these tests are about what happens around the
# training.
TINY = {
    "dataset": "digits",
    "network": "squeezenet1_1",
    "weights": "random",
    "train_samples": 128,
    "epochs": 2,
    "precision": "fp32",
}
DIGITS = ROOT / "tuneserve" / "digits"
T = TypeVar("T")
PATIENCE_S = 120  # for a noisy machine; nothing waits so long unless it fails


def wait_for(look: Callable[[], T | None], what: str) -> T:
    """Return the first answer that is not None or False."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.2)  # to ask costs the service 8 ms
    raise AssertionError(f"waited {PATIENCE_S} s for {what}")


class Programs:
    """The programs, started, killed and called as by a person."""

    def __init__(self, data_dir: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        # one for all: to make a client takes 50 ms of the processor. No connection outlives a service that is killed
        self.http = httpx.Client(base_url=self.url, timeout=20, limits=httpx.Limits(max_keepalive_connections=0))
        self.data_dir = data_dir
        ours = {name: value for name, value in os.environ.items() if not name.startswith("TUNESERVE_")}
        self.environment = ours | {
            "TUNESERVE_DATA_DIR": str(data_dir),
            "TUNESERVE_PORT": str(self.port),
            "TUNESERVE_HEARTBEAT_INTERVAL_S": "0.3",
            "TUNESERVE_LEASE_S": "3",
            "TUNESERVE_TRAIN_THREADS": "1",
            "TUNESERVE_TRAIN_NICENESS": "0",
            "TUNESERVE_PREDICT_THREADS": "1",
            "TUNESERVE_PREWARM_TRAINER": "false",  # most tests have one job: a second import of torch for nothing
            "TUNESERVE_MAX_CHECKUP_IMAGES": "0",  # most tests wait for something else
        }
        self.children: list[subprocess.Popen[bytes]] = []
        self.newest: dict[str, subprocess.Popen[bytes]] = {}  # by module

    def start(self, module: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.data_dir / f"{module}.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", module], env=self.environment | environment, stdout=log, stderr=log
            )
        self.children.append(child)
        self.newest[module] = child
        if module == "service":
            wait_for(self.alive, "the service to answer")
        return child

    def keep(self, module: str) -> subprocess.Popen[bytes]:
        """Return the program started last; start another if it has ended."""
        child = self.newest.get(module)
        return self.start(module) if child is None or child.poll() is not None else child

    def end(self, module: str) -> None:
        """Tell a program to stop, and wait until it has."""
        if module in self.newest:
            self.newest[module].terminate()
            self.newest[module].wait(60)

    def kill(self, module: str) -> None:
        self.newest[module].kill()
        self.newest[module].wait()

    def alive(self) -> bool:
        try:
            return self.http.get("/livez").is_success
        except httpx.TransportError:
            return False

    def train(self, **recipe: Any) -> str:
        answer = self.http.post("/jobs", json=TINY | recipe)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.http.get(f"/jobs/{job_id}").json()
        return job

    def jobs(self) -> list[dict[str, Any]]:
        return list(self.http.get("/jobs").json()["data"])

    def predicting(self) -> str:
        """Return the model that answers /predict."""
        answer = self.http.post("/predict", files={"file": (DIGITS / "7.png").read_bytes()})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["model"]["id"])

    def ended(self, job_id: str) -> dict[str, Any]:
        """Wait until a job has ended and return it."""

        def look() -> dict[str, Any] | None:
            job: dict[str, Any] = self.http.get(f"/jobs/{job_id}?wait=10").json()
            return job if job["status"] in ("succeeded", "failed", "cancelled") else None

        return wait_for(look, f"{job_id} to end")

    def training(self, job_id: str, epoch: int = 1) -> dict[str, Any]:
        """Wait until an epoch of a job is kept; return the job."""
        return wait_for(
            lambda: self.job(job_id) if len(self.checkpoints(job_id)) >= epoch else None, f"epoch {epoch} of {job_id}"
        )

    def checkpoints(self, job_id: str) -> list[dict[str, Any]]:
        return list(self.http.get(f"/jobs/{job_id}/checkpoints").json())

    def events(self, job_id: str) -> list[dict[str, Any]]:
        return list(self.http.get(f"/jobs/{job_id}/events", params={"limit": 1000}).json()["data"])

    def served(self, model_id: str) -> None:
        """Wait until predictions come from that model."""
        wait_for(
            lambda: self.http.get("/readyz").json()["checks"]["model"].get("model_id") == model_id,
            f"{model_id} to be served",
        )

    def trainer_pid(self, job_id: str) -> int:
        """Find the process that trains the job.

        It is found as the system knows it.
        """
        found = wait_for(lambda: processes_with(job_id), f"the trainer of {job_id}")
        return found[0]

    def stop(self) -> None:
        for child in self.children:
            child.terminate()
        for child in self.children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.http.close()


def processes_with(of: str) -> list[int]:
    """List the processes that print into a job's or batch's log.

    A trainer may have been started before it had one.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                output = (entry / "fd" / "1").readlink()
            except OSError:
                continue
            if of in output.parts:
                found.append(int(entry.name))
    return found


@pytest.fixture
def programs(settings: Settings) -> Iterator[Programs]:
    """Real programs on the database of `published` and the other factories.

    Those factories are in tests/conftest.py.
    """
    with programs_in(settings.data_dir) as programs:
        yield programs


@pytest.fixture(scope="module")
def shared_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """The programs of all tests of a file: a service and a worker take 5 s of the processor to start."""
    with programs_in(tmp_path_factory.mktemp("programs")) as programs:
        yield programs


@pytest.fixture
def running(shared_programs: Programs) -> Programs:
    """The file's service and worker; what an earlier test has ended is started again."""
    for module in ("service", "worker"):
        shared_programs.keep(module)
    return shared_programs


@pytest.fixture
def unattended(shared_programs: Programs) -> Programs:
    """The file's service, without a worker."""
    shared_programs.end("worker")
    shared_programs.keep("service")
    return shared_programs


@contextmanager
def programs_in(data_dir: Path) -> Iterator[Programs]:
    """Programs on that folder, which are stopped in the end."""
    data_dir.mkdir(mode=0o700, exist_ok=True)
    programs = Programs(data_dir)
    try:
        yield programs
    finally:
        programs.stop()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
