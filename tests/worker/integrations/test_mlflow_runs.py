"""worker.integrations.mlflow_runs: jobs as MLflow reads them back.

They are read from its files and its server; some servers do not answer.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.db.database import Database
from core.db.tables import JobStatus, Phase
from core.repositories.jobs import Claim
from core.settings import Settings
from tests.support.receiver import Answer, receiving
from tuneserve.cli.demo import _free_port
from worker import trainer
from worker.attempt.reporter import Reporter
from worker.integrations import mlflow_runs
from worker.integrations.mlflow_runs import MlflowLogger

if find_spec("mlflow") is None and not os.environ.get("CI"):
    pytest.skip("needs the extra mlflow", allow_module_level=True)
mlflow = import_module("mlflow")  # where it is missing in CI, this fails

RECIPE = {"name": None, "dataset": "digits", "network": "resnet18", "batch_size": 32}
PATIENCE_S = 30.0
SERVER_S = 120.0  # until MLflow's server answers; 12 on a processor that is free
Told = tuple[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def _as_it_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set MLflow's variables so that they are gone after the test."""
    for name, value in mlflow_runs.DEFAULTS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(mlflow_runs.EXPERIMENT, raising=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server with a database.

    It is started as `mlflow server` starts it. Not installed: skip on a laptop, fail in CI.
    """
    if find_spec("flask") is None:
        missing = "the dependency group mlflow-server is not installed"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    folder, url = tmp_path_factory.mktemp("mlflow"), f"http://127.0.0.1:{(port := _free_port('127.0.0.1', 5000))}"
    options = ["--backend-store-uri", "sqlite:///mlflow.db", "--workers", "1", "--port", str(port)]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options],
            cwd=folder,
            env=os.environ | mlflow_runs.DEFAULTS,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait_for(url, folder / "log")
            yield url
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _wait_for(url: str, log: Path) -> None:
    until = time.monotonic() + SERVER_S
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/health").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(log.read_text())


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of files for MLflow.

    A database of MLflow's would take four seconds to be made.
    """
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv(mlflow_runs.URI, f"file://{tmp_path}/mlruns")
    return f"file://{tmp_path}/mlruns"


def tell(*told: Told, job: str = "job_1", attempt: int = 1) -> None:
    """Send one attempt's messages to MLflow, all of them heard."""
    listener = MlflowLogger(Claim(job, attempt), last_s=PATIENCE_S)
    for kind, data in told:
        listener(kind, data)


def epoch(number: int, **more: float | None) -> Told:
    return "metrics", {"epoch": number, "train_loss": 1.0 / number, **more}


def ended(status: JobStatus | None, model_id: str | None = None, **metrics: float) -> Told:
    told = {"status": status, "model_id": model_id, "model": model_id and "digits/3", "metrics": metrics}
    return "ended", told


def run_of(uri: str, job: str = "job_1") -> Any:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("tuneserve")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.job_id = '{job}'")
    return run


def curve(uri: str, metric: str) -> list[tuple[int, float]]:
    run_id = run_of(uri).info.run_id
    return [(point.step, point.value) for point in mlflow.MlflowClient(uri).get_metric_history(run_id, metric)]


def test_a_job_is_a_run_with_parameters_curves_and_its_test_accuracy(uri: str) -> None:
    done = ended(JobStatus.SUCCEEDED, "model_1", epoch=1, train_loss=1.0, test_accuracy=0.97)
    tell(("recipe", RECIPE), epoch(1, validation_loss=None), epoch(2), done)
    run = run_of(uri)
    assert run.data.params == {"name": "None", "dataset": "digits", "network": "resnet18", "batch_size": "32"}
    assert curve(uri, "train_loss") == [(1, 1.0), (2, 0.5)]
    assert curve(uri, "test_accuracy") == [(1, 0.97)]
    assert (run.info.status, run.info.run_name) == ("FINISHED", "job_1")
    assert (run.data.tags["model"], run.data.tags["model_id"]) == ("digits/3", "model_1")
    assert "validation_loss" not in run.data.metrics


@pytest.mark.mlflow_server
def test_a_real_server_shows_both_attempts_of_a_job_as_one_run(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mlflow_runs.URI, server)
    tell(("recipe", RECIPE), epoch(1), ended(JobStatus.RUNNING))
    tell(("recipe", RECIPE), epoch(2), ended(JobStatus.SUCCEEDED, "model_1", epoch=2, test_accuracy=0.97), attempt=2)
    run = run_of(server)
    assert (run.info.status, run.data.tags["attempt"], run.data.tags["model_id"]) == ("FINISHED", "2", "model_1")
    assert (run.data.params["network"], curve(server, "train_loss")) == ("resnet18", [(1, 1.0), (2, 0.5)])
    assert curve(server, "test_accuracy") == [(2, 0.97)]


def test_a_later_attempt_goes_on_in_the_same_run(uri: str) -> None:
    tell(("recipe", RECIPE), epoch(1), ended(JobStatus.RUNNING))
    assert run_of(uri).info.status == "SCHEDULED"
    tell(("recipe", RECIPE), epoch(2), ended(JobStatus.FAILED), attempt=2)
    tell(("recipe", RECIPE), job="job_2")
    assert curve(uri, "train_loss") == [(1, 1.0), (2, 0.5)]
    assert (run_of(uri).info.status, run_of(uri).data.tags["attempt"]) == ("FAILED", "2")


def test_what_is_decided_anew_is_a_tag_since_parameters_stay(uri: str) -> None:
    tell(("recipe", RECIPE), ("recipe", RECIPE | {"batch_size": 16}), ended(JobStatus.CANCELLED))
    run = run_of(uri)
    assert (run.data.params["batch_size"], run.data.tags["now.batch_size"]) == ("32", "16")
    assert run.info.status == "KILLED"


def test_an_attempt_that_lost_its_job_leaves_the_run_to_the_next(uri: str) -> None:
    tell(("recipe", RECIPE), ended(None))
    assert run_of(uri).info.status == "RUNNING"


def test_the_reporter_tells_of_the_recipe_and_of_the_end(uri: str, db: Database, claimed: Callable[..., Claim]) -> None:
    claim = claimed()
    report = Reporter(db, claim, heartbeat_interval_s=1)
    report.listeners.append(MlflowLogger(claim, last_s=PATIENCE_S))
    report.phase(Phase.STARTING)
    report.record(resolved_recipe=RECIPE)
    report.event("metrics", epoch(1)[1])
    report.ended()
    run = run_of(uri, claim.job_id)
    assert (run.info.status, run.data.params["dataset"], run.data.metrics["train_loss"]) == ("SCHEDULED", "digits", 1.0)


def test_it_is_off_without_an_address_and_says_so_without_the_extra(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(mlflow_runs.URI, raising=False)
    assert not any(isinstance(one, MlflowLogger) for one in trainer.integrations(settings, Claim("job_1", 1)))
    monkeypatch.setenv(mlflow_runs.URI, "http://localhost:5000")
    monkeypatch.setattr(mlflow_runs, "find_spec", lambda _name: None)
    assert not mlflow_runs.is_on()
    assert "pip install 'tuneserve[mlflow]'" in caplog.text


def test_a_server_that_fails_is_told_of_once_and_asked_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(Answer(400, b"{}")) as server:
        monkeypatch.setenv(mlflow_runs.URI, server.url)
        tell(("recipe", RECIPE), epoch(1), epoch(2), ended(JobStatus.SUCCEEDED))
        assert len(server.asked) == 1
    assert [record.message for record in caplog.records if record.name == mlflow_runs.log.name] == [
        "reporting to MLflow failed; this attempt does not try again"
    ]


def test_a_server_that_is_silent_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    with receiving(Answer(400, b"{}", before=lambda: let_go.wait(PATIENCE_S))) as server:
        monkeypatch.setenv(mlflow_runs.URI, server.url)
        listener = MlflowLogger(Claim("job_1", 1), last_s=0.05)
        for kind, data in (("recipe", RECIPE), epoch(1), ended(JobStatus.SUCCEEDED)):
            listener(kind, data)
        assert listener._thread.is_alive()  # it still waits; we do not
        let_go.set()
        listener._thread.join(PATIENCE_S)
