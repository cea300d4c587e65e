"""Each job as a run of MLflow, where MLFLOW_TRACKING_URI is set and the extra ``mlflow`` is installed.

All attempts of a job go on in one run, which is found by its tag ``job_id``.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from core.db.tables import JobStatus
from core.repositories.jobs import Claim

if TYPE_CHECKING:
    from mlflow.entities import Run

log = logging.getLogger(__name__)
URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
DEFAULTS = MappingProxyType(  # what MLflow reads; its own are 120 s, 7 tries, and a report of usage to its makers
    {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # seconds
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
)
LAST_S = 3.0  # what the last calls may take at the attempt's end
KINDS = ("recipe", "metrics", "ended")
STATUS = MappingProxyType(  # ours and MLflow's; an attempt that ended before its job did goes on later
    {
        JobStatus.SUCCEEDED: "FINISHED",
        JobStatus.FAILED: "FAILED",
        JobStatus.CANCELLED: "KILLED",
        JobStatus.CANCELLING: "KILLED",
    }
)


def is_on() -> bool:
    """Whether runs are wanted and can be written."""
    if not os.environ.get(URI):
        return False
    if find_spec("mlflow") is None:
        log.warning("%s is set, but the extra mlflow is not installed: pip install 'tuneserve[mlflow]'", URI)
        return False
    return True


class Runs:
    """Listens to a job's events and tells MLflow of them from a thread of its own, so that no server delays the job.

    The first failure is logged, and ends it for this attempt.
    """

    def __init__(self, claim: Claim, last_s: float = LAST_S) -> None:
        self._claim = claim
        self._last_s = last_s
        self._told: queue.SimpleQueue[tuple[str, Mapping[str, Any], int]] = queue.SimpleQueue()  # an entry an epoch
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        self._thread = threading.Thread(target=self._tell_all, name="mlflow", daemon=True)
        self._thread.start()

    def __call__(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind in KINDS and self._thread.is_alive():
            self._told.put((kind, data, int(time.time() * 1000)))
        if kind == "ended":
            self._thread.join(self._last_s)

    def _tell_all(self) -> None:
        try:
            job = _JobRun(self._claim)
            kind = ""
            while kind != "ended":
                kind, data, at_ms = self._told.get()
                job.tell(kind, data, at_ms)
        except Exception:  # the thread's edge: whatever it was, the job goes on
            log.warning("MLflow cannot be told; this attempt does not try again", exc_info=True)


class _JobRun:
    """The run of one job. Raises what MLflow raises."""

    def __init__(self, claim: Claim) -> None:
        import mlflow  # takes a second

        self._claim = claim
        self._client = mlflow.MlflowClient()
        self._experiment = mlflow.set_experiment(os.environ.get(EXPERIMENT) or "tuneserve").experiment_id
        self._run: Run | None = None

    def tell(self, kind: str, data: Mapping[str, Any], at_ms: int) -> None:
        if kind == "recipe":
            self._add_recipe(data, at_ms)
        elif self._run is None:
            return  # it ended before there was a recipe
        elif kind == "metrics":
            self._add_metrics(self._run.info.run_id, data, at_ms)
        else:
            self._end(self._run.info.run_id, data, at_ms)

    def _add_recipe(self, recipe: Mapping[str, Any], at_ms: int) -> None:
        """A parameter of MLflow cannot be changed: what is decided anew later (half a batch) is a tag."""
        from mlflow.entities import Param, RunTag

        run = self._run = self._run or self._find() or self._make(recipe, at_ms)
        known, asked = run.data.params, {name: str(value) for name, value in recipe.items()}
        params = [Param(name, value) for name, value in asked.items() if name not in known]
        anew = {f"now.{name}": value for name, value in asked.items() if known.get(name, value) != value}
        tags = {"attempt": str(self._claim.attempt), **anew}
        self._client.update_run(run.info.run_id, status="RUNNING")
        self._client.log_batch(run.info.run_id, params=params, tags=[RunTag(*tag) for tag in tags.items()])
        run.data.params.update({param.key: param.value for param in params})

    def _find(self) -> "Run | None":
        found = self._client.search_runs([self._experiment], f"tags.job_id = '{self._claim.job_id}'", max_results=1)
        return found[0] if found else None

    def _make(self, recipe: Mapping[str, Any], at_ms: int) -> "Run":
        name, tags = recipe.get("name") or self._claim.job_id, {"job_id": self._claim.job_id}
        return self._client.create_run(self._experiment, start_time=at_ms, tags=tags, run_name=name)

    def _add_metrics(self, run_id: str, metrics: Mapping[str, Any], at_ms: int) -> None:
        from mlflow.entities import Metric

        told = {name: value for name, value in metrics.items() if value is not None and name != "epoch"}
        points = [Metric(name, float(value), at_ms, metrics["epoch"]) for name, value in told.items()]
        self._client.log_batch(run_id, metrics=points)

    def _end(self, run_id: str, ended: Mapping[str, Any], at_ms: int) -> None:
        if ended["model_id"]:
            test = {name: value for name, value in ended["metrics"].items() if name.startswith("test_")}
            self._add_metrics(run_id, test | {"epoch": ended["metrics"]["epoch"]}, at_ms)
            self._client.set_tag(run_id, "model_id", ended["model_id"])
        if status := STATUS.get(ended["status"]):
            self._client.set_terminated(run_id, status, at_ms)
        elif ended["status"] is not None:
            self._client.update_run(run_id, status="SCHEDULED")
