"""Calls for training jobs."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path
from typing import Any, Self

import httpx

from tuneserve.client import html
from tuneserve.client.connection import ENDED
from tuneserve.client.datasets import DatasetCalls
from tuneserve.client.errors import JobFailed, ServiceError, refusal
from tuneserve.client.models import Model, ModelCalls
from tuneserve.progress import show
from tuneserve.terminal import Console
from tuneserve.types import AcceptedJob, Record
from tuneserve.types import Job as JobFields

MAX_WAIT_S = 60.0  # longest wait that the service accepts
MAX_EVENTS = 1000  # in a page

Data = str | os.PathLike[str] | Mapping[str, Any]  # a folder or an archive, a data set's name, or a recipe


class Job(AcceptedJob):
    """A training job as it was last seen, with the calls that need it."""

    def __init__(self, fields: JobFields, calls: "JobCalls") -> None:
        super().__init__(fields)
        self._calls = calls

    def refresh(self, wait_s: float = 0) -> Self:
        """Fetch the job's present state, after ``wait_s`` unless it ends before."""
        self.update(self._calls.fetch_job(self.id, wait_s))
        return self

    def follow(self) -> Iterator[Self]:
        """Yield the job repeatedly until it has ended.

        A service that restarts meanwhile is awaited.
        """
        return self._calls._follow(self.refresh)

    def wait(self, timeout_s: float = inf, progress: bool = False) -> Self:
        """Wait until the job has succeeded, and return it.

        JobFailed, with the service's hint, if it has no model at the end; TimeoutError if it has not ended after
        ``timeout_s``. ``progress``: show a bar meanwhile.
        """
        states = self._until(time.monotonic() + timeout_s, 0.0 if progress else MAX_WAIT_S)
        if progress:
            show(states, Console())
        else:
            for _ in states:
                pass
        if self.status not in ENDED:
            raise TimeoutError(f"{self.id} is {self.status} after {timeout_s:g} s")
        if self.status != "succeeded":
            raise JobFailed(self)
        return self

    def _until(self, end: float, wait_s: float) -> Iterator[Self]:
        for job in self._calls._follow(lambda: self.refresh(max(0.0, min(wait_s, end - time.monotonic())))):
            yield job
            if time.monotonic() >= end:
                return

    @property
    def model(self) -> Model:
        """The model that the job has published."""
        if self.model_id is None:
            raise ServiceError(f"{self.id} is {self.status} and has no model: wait for it with job.wait()")
        return self._calls.model(self.model_id)

    def cancel(self, keep: bool = False) -> Self:
        """Stop the job; with ``keep``, publish the best epoch first."""
        return self._do("cancel", {"keep": keep})

    def pause(self) -> Self:
        return self._do("pause")

    def resume(self) -> Self:
        return self._do("resume")

    def retry(self) -> "Job":
        """Start a failed or cancelled job again, as a new job."""
        return self._calls.retry(self.id)

    def _do(self, verb: str, params: dict[str, Any] | None = None) -> Self:
        self.update(self._calls._call(JobFields, "POST", f"/jobs/{self.id}/{verb}", params=params or {}))
        return self

    def logs(self) -> str:
        """Return the last megabyte of the newest attempt's log.

        "" if there is none yet.
        """
        return self._calls.log(self.id, {}).decode(errors="replace")

    def logs_after(self, attempt: int, offset: int) -> bytes:
        """Return an attempt's log after ``offset`` bytes, up to a megabyte.

        b"" if there is no more yet.
        """
        return self._calls.log(self.id, {"attempt": attempt, "after": offset})

    def events(self, after: int = 0) -> Iterator[Record]:
        """Yield the job's events so far whose id is above ``after``."""
        return self._calls.events(self.id, after)

    def _repr_html_(self) -> str:
        return html.job(self)


class JobCalls(ModelCalls, DatasetCalls):
    """Train, follow and control jobs."""

    def train(
        self, data: Data | None = None, *, preset: str | None = None, model: str | None = None, **fields: Any
    ) -> Job:
        """Start a training job.

        ``data``: a folder or an archive of photos, which becomes a data set; or the name of a data set (a built-in
        one's even where a folder is called so); or a recipe, as POST /jobs takes it. ``preset``: quick or accurate.
        ``model``: the name to publish under. ``fields``: other fields of the recipe.
        """
        named = {name: value for name, value in (("preset", preset), ("model", model)) if value is not None}
        recipe = self._recipe(data, fields) | named | fields
        return Job(self._create(AcceptedJob, "/jobs", json=recipe), self)

    def _recipe(self, data: Data | None, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the recipe that the data alone make; a folder is sent first."""
        if data is None or isinstance(data, Mapping):
            return dict(data or {})
        path = Path(data)
        if path.exists() and not self._is_built_in(data):
            name = fields.pop("dataset", None) or dataset_name(path)
            card = self.upload_dataset(name, path, replace=True)
            return {"dataset": f"{card.name}/{card.version}"}
        if not isinstance(data, str) or os.sep in data:
            raise FileNotFoundError(f"{path}: there is no such file or folder")
        return {"dataset": data}

    def _is_built_in(self, data: str | os.PathLike[str]) -> bool:
        """Check whether a path names a built-in data set.

        `digits` does; `./digits` is the folder.
        """
        if not isinstance(data, str) or os.sep in data:
            return False
        built_in = [one.name for one in self.datasets() if one.kind == "built_in"]
        return data in built_in

    def networks(self, search: str | None = None) -> list[Record]:
        """Return the networks that a recipe can name."""
        found = self._list(Record, "/networks", params={"search": search} if search else {})
        return [one for one in found if not search or search in one.name]

    def recipe_fields(self) -> list[str]:
        """Name the fields of a recipe."""
        return list(self._json("GET", "/networks/resnet50")["properties"])

    def job(self, job_id: str) -> Job:
        return Job(self.fetch_job(job_id), self)

    def fetch_job(self, job_id: str, wait_s: float = 0) -> JobFields:
        return self._call(JobFields, "GET", f"/jobs/{job_id}", params={"wait": wait_s})

    def jobs(self, limit: int = 20, status: str | None = None, dataset: str | None = None) -> list[Job]:
        """Return the newest jobs, in as many requests as so many take."""
        return [Job(one, self) for one in self._pages(JobFields, "/jobs", limit, status=status, dataset=dataset)]

    def retry(self, job_id: str) -> Job:
        return Job(self._create(AcceptedJob, f"/jobs/{job_id}/retry"), self)

    def log(self, job_id: str, params: Mapping[str, int]) -> bytes:
        answer = self._request("GET", f"/jobs/{job_id}/logs", params=params)
        if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
            raise refusal(answer)
        return answer.content if answer.is_success else b""

    def events(self, job_id: str, after: int = 0) -> Iterator[Record]:
        """Yield a job's events so far whose id is above ``after``."""
        while True:
            page = self._json("GET", f"/jobs/{job_id}/events", params={"after": after, "limit": MAX_EVENTS})
            yield from page["data"]
            if not page["has_more"]:
                return
            after = page["next"]


def dataset_name(path: Path) -> str:
    """Return a name for the data set that a folder or an archive becomes."""
    words = path.resolve().name.removesuffix("".join(path.suffixes) if path.is_file() else "").lower()
    return re.sub("[^a-z0-9_-]+", "-", words).strip("-_")[:64] or "photos"
