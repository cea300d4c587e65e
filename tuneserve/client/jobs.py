"""Calls for training jobs."""

import time
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

import httpx

from tuneserve.client.connection import ENDED, Connection
from tuneserve.client.errors import refusal
from tuneserve.types import AcceptedJob, Job

MAX_WAIT_S = 60.0  # longest wait that the service accepts


class JobCalls(Connection):
    """Train, follow and control jobs."""

    def train(self, recipe: Mapping[str, Any]) -> AcceptedJob:
        """Start a training job; ``{}`` is a valid recipe, see POST /jobs."""
        return self._call(AcceptedJob, "POST", "/jobs", json=recipe)

    def job(self, job_id: str, wait_s: float = 0) -> Job:
        return self._call(Job, "GET", f"/jobs/{job_id}", params={"wait": wait_s})

    def jobs(self, limit: int = 20) -> list[Job]:
        """Return the newest jobs, in as many requests as so many take."""
        return self._pages(Job, "/jobs", limit)

    def ask_job(self, job_id: str, verb: str, params: dict[str, Any] | None = None) -> Job:
        """Cancel, pause, resume or retry a job, as ``verb`` says."""
        return self._call(Job, "POST", f"/jobs/{job_id}/{verb}", params=params or {})

    def logs(self, job_id: str) -> str:
        """Return the last megabyte of the newest attempt's log.

        "" if there is none yet.
        """
        answer = self._request("GET", f"/jobs/{job_id}/logs")
        if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
            raise refusal(answer)
        return answer.text if answer.is_success else ""

    def log_behind(self, job_id: str, attempt: int, after: int) -> bytes:
        """Return an attempt's log after ``after`` bytes, up to a megabyte.

        b"" if there is no more yet.
        """
        answer = self._request("GET", f"/jobs/{job_id}/logs", params={"attempt": attempt, "after": after})
        if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
            raise refusal(answer)
        return answer.content if answer.is_success else b""

    def follow(self, job_id: str) -> Iterator[Job]:
        """Yield the job repeatedly until it has ended.

        A service that restarts meanwhile is awaited.
        """
        return self._follow(lambda: self.job(job_id))

    def wait(self, job_id: str, timeout_s: float = inf) -> Job:
        """Wait until the job has ended, with any status.

        TimeoutError if it has not ended after ``timeout_s``.
        """
        until = time.monotonic() + timeout_s
        for job in self._follow(lambda: self.job(job_id, max(0.0, min(MAX_WAIT_S, until - time.monotonic())))):
            if job["status"] not in ENDED and time.monotonic() >= until:
                raise TimeoutError(f"{job_id} is {job['status']} after {timeout_s:g} s")
        return job
