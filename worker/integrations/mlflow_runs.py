"""MLflow runs for jobs, enabled by MLFLOW_TRACKING_URI and the extra ``mlflow``.

All attempts of a job share one run, which is found by its tag ``job_id``.
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
DEFAULTS = MappingProxyType(  # environment variables; MLflow's own defaults are 120 s, 7 retries and telemetry
    {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # seconds
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
)
LAST_S = 3.0  # longest wait for the last calls at the attempt's end
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
    """Check whether MLflow is configured and the extra is installed."""
    if not os.environ.get(URI):
        return False
    if find_spec("mlflow") is None:
        log.warning("%s is set, but the extra mlflow is not installed: pip install 'tuneserve[mlflow]'", URI)
        return False
    return True


class MlflowLogger:
    """Report a job's events to MLflow from a background thread.

    So no server delays the job. The first failure is logged and ends the reports of this attempt.
    """

    def __init__(self, claim: Claim, last_s: float = LAST_S) -> None:
        self._claim = claim
        self._last_s = last_s
        self._events: queue.SimpleQueue[tuple[str, Mapping[str, Any], int]] = queue.SimpleQueue()  # an entry an epoch
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        self._thread = threading.Thread(target=self._report_all, name="mlflow", daemon=True)
        self._thread.start()

    def __call__(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind in KINDS and self._thread.is_alive():
            self._events.put((kind, data, int(time.time() * 1000)))
        if kind == "ended":
            self._thread.join(self._last_s)

    def _report_all(self) -> None:
        try:
            job = _JobRun(self._claim)
            kind = ""
            while kind != "ended":
                kind, data, at_ms = self._events.get()
                job.report(kind, data, at_ms)
        except Exception:  # the thread's edge: a failed report must not end the job
            log.warning("reporting to MLflow failed; this attempt does not try again", exc_info=True)


class _JobRun:
    """The run of one job; raises MLflow's exceptions."""

    def __init__(self, claim: Claim) -> None:
        import mlflow  # takes a second

        self._claim = claim
        self._client = mlflow.MlflowClient()
        self._experiment = mlflow.set_experiment(os.environ.get(EXPERIMENT) or "tuneserve").experiment_id
        self._run: Run | None = None

    def report(self, kind: str, data: Mapping[str, Any], at_ms: int) -> None:
        if kind == "recipe":
            self._add_recipe(data, at_ms)
        elif self._run is None:
            return  # it ended before there was a recipe
        elif kind == "metrics":
            self._add_metrics(self._run.info.run_id, data, at_ms)
        else:
            self._end(self._run.info.run_id, data, at_ms)

    def _add_recipe(self, recipe: Mapping[str, Any], at_ms: int) -> None:
        """Log the recipe as parameters, later changes as tags.

        MLflow's parameters are immutable.
        """
        from mlflow.entities import Param, RunTag

        run = self._run = self._run or self._find() or self._make(recipe, at_ms)
        known, values = run.data.params, {name: str(value) for name, value in recipe.items()}
        params = [Param(name, value) for name, value in values.items() if name not in known]
        anew = {f"now.{name}": value for name, value in values.items() if known.get(name, value) != value}
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

        known = {name: value for name, value in metrics.items() if value is not None and name != "epoch"}
        points = [Metric(name, float(value), at_ms, metrics["epoch"]) for name, value in known.items()]
        self._client.log_batch(run_id, metrics=points)

    def _end(self, run_id: str, ended: Mapping[str, Any], at_ms: int) -> None:
        if ended["model_id"]:
            test = {name: value for name, value in ended["metrics"].items() if name.startswith("test_")}
            self._add_metrics(run_id, test | {"epoch": ended["metrics"]["epoch"]}, at_ms)
            for tag in ("model", "model_id"):
                self._client.set_tag(run_id, tag, ended[tag])
        if status := STATUS.get(ended["status"]):
            self._client.set_terminated(run_id, status, at_ms)
        elif ended["status"] is not None:
            self._client.update_run(run_id, status="SCHEDULED")
