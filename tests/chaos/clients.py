"""Clients during a storm: one polls and predicts, others follow jobs.

There is a follower of events for each job.
"""

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx

from tests import ROOT
from tests.integration.conftest import PATIENCE_S
from tests.support.listener import Listener

DIGIT = (ROOT / "tuneserve" / "digits" / "7.png").read_bytes()
ENDED = ("succeeded", "failed", "cancelled")
POLL_S = 0.2
STORM_S = 3600.0  # no storm lasts longer


class Clients:
    """Clients that collect what no client should ever see.

    ``complaints``: a 5xx but "not ready", or an ended job with another end.
    """

    def __init__(self, url: str) -> None:
        self.complaints: list[str] = []
        self.answers = 0
        self.listeners: dict[str, Listener] = {}
        self._url = url
        self._http = httpx.Client(base_url=url, timeout=20, limits=httpx.Limits(max_keepalive_connections=0))
        self._ends: dict[str, str] = {}
        self._leaving = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(threading.Thread(target=self._poll))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until the followers have heard of their jobs' ends."""
        self._leaving.set()
        until = time.monotonic() + PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._http.close()

    def follow(self, job_id: str) -> None:
        listener = self.listeners[job_id] = Listener(self._url, job_id)
        until = time.monotonic() + STORM_S
        self._start(threading.Thread(target=listener.listen_through_everything, args=(until,), daemon=True))

    def _start(self, thread: threading.Thread) -> None:
        thread.start()
        self._threads.append(thread)

    def _poll(self) -> None:
        while not self._leaving.wait(POLL_S):
            try:
                self._look()
            except httpx.TransportError:
                continue  # the service is down: that is the storm

    def _look(self) -> None:
        predicted = self._http.post("/predict", content=DIGIT, headers={"Content-Type": "image/png"})
        self._check(predicted, {"not_ready"})
        listed = self._http.get("/jobs", params={"limit": 100})
        self._check(listed, set())
        for job in listed.json()["data"] if listed.is_success else []:
            self._remember(job)

    def _check(self, answer: httpx.Response, excused: set[str]) -> None:
        self.answers += 1
        if answer.status_code >= 500 and answer.json().get("code") not in excused:
            self.complaints.append(f"{answer.request.url.path}: {answer.status_code} {answer.text}")

    def _remember(self, job: Mapping[str, str]) -> None:
        job_id, status = job["id"], job["status"]
        if self._ends.get(job_id, status) != status:
            self.complaints.append(f"{job_id} was {self._ends[job_id]} and is {status}")
        if status in ENDED:
            self._ends[job_id] = status
