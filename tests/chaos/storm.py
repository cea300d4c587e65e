"""A storm: jobs are posted, and blows fall on service, worker and trainer, at random but by a seed.

A killed service or worker is started again, as a supervisor would. What came of it all is told by tests.chaos.books.
"""

import os
import random
import signal
import subprocess
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from tests.chaos.clients import Clients
from tests.integration.conftest import TINY, Programs, processes_with, wait_for

# the network with the quickest export; and never at the end of its attempts
RECIPE = TINY | {"network": "squeezenet1_1", "train_samples": 64, "max_attempts": 100}
KINDS = ("kill", "terminate", "freeze")
TARGETS = ("service", "worker", "trainer")
BETWEEN_S = (0.5, 4.0)  # from one blow to the next: some come while a process still starts
FROZEN_S = (0.3, 4.5)  # the longer ones outlast the lease of 3 s
DOWN_S = (0.0, 2.0)  # until the supervisor has noticed
GRACE_S = 40  # for a process that was told to stop; the worker gives its trainer 20 of them
CANCELLED = 0.15  # of the jobs


@dataclass
class Storm:
    """``blows``: what has fallen, as "kill trainer" and the like. ``rude``: processes that SIGTERM did not end well."""

    programs: Programs
    seed: int
    waiting: int = 3  # jobs that are kept waiting or running
    posted: list[str] = field(default_factory=list)
    blows: Counter[str] = field(default_factory=Counter)
    rude: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.clients = Clients(self.programs.url)

    def blow(self, count: int) -> None:
        """So many blows; then calm, until every job has ended or nothing moves any more."""
        for module in ("service", "worker"):
            self._running[module] = self.programs.start(module)
        with self.clients:
            while self.blows.total() < count:
                self._keep_busy()
                time.sleep(self._random.uniform(*BETWEEN_S))
                self._strike()
            for job_id in self.posted:
                with suppress(AssertionError):  # a job that is stuck, for the books
                    self.programs.ended(job_id)

    def _keep_busy(self) -> None:
        while len(self._open()) < self.waiting:
            job_id = self._post()
            self.posted.append(job_id)
            self.clients.follow(job_id)
            if self._random.random() < CANCELLED:
                self._ask("POST", f"/jobs/{job_id}/cancel")

    def _open(self) -> list[str]:
        states = [self._ask("GET", f"/jobs/{job_id}").json()["status"] for job_id in self.posted]
        ended = ("succeeded", "failed", "cancelled")
        return [job_id for job_id, status in zip(self.posted, states, strict=True) if status not in ended]

    def _post(self) -> str:
        """As a careful client: sent again with the same key until it is answered, so that it makes one job."""
        recipe = RECIPE | {"epochs": self._random.randint(1, 3), "seed": len(self.posted)}
        return str(self._ask("POST", "/jobs", json=recipe).json()["id"])

    def _ask(self, method: str, path: str, json: object = None) -> httpx.Response:
        headers = {"Idempotency-Key": str(uuid.UUID(int=self._random.getrandbits(128)))}

        def answer() -> httpx.Response | None:
            with suppress(httpx.TransportError):
                given = self.programs.http.request(method, path, headers=headers, json=json)
                return None if given.status_code == 409 and json else given  # the first try is still being answered
            return None

        return wait_for(answer, f"{method} {path}")

    # -- blows

    def _strike(self) -> None:
        kind, target = self._random.choice(KINDS), self._random.choice(TARGETS)
        strike = {"kill": self._kill, "terminate": self._terminate, "freeze": self._freeze}[kind]
        pids = self._pids(target)
        if not pids:  # no trainer just now
            return
        with suppress(ProcessLookupError):  # it ended by itself in between
            strike(pids[0], target)
            self.blows[f"{kind} {target}"] += 1

    def _pids(self, target: str) -> list[int]:
        if target == "trainer":
            return [pid for job_id in self.posted for pid in processes_with(job_id)]
        return [self._running[target].pid]

    def _kill(self, pid: int, target: str) -> None:
        os.kill(pid, signal.SIGKILL)
        self._start_again(target)

    def _terminate(self, pid: int, target: str) -> None:
        os.kill(pid, signal.SIGTERM)
        if target == "trainer":
            return
        try:
            code = self._running[target].wait(GRACE_S)
        except subprocess.TimeoutExpired:
            os.kill(pid, signal.SIGKILL)
            code = -signal.SIGKILL
        if code not in (0, -signal.SIGTERM):  # the latter: told before it could listen
            self.rude.append(f"{target} ended with {code}")
        self._start_again(target)

    def _freeze(self, pid: int, target: str) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self._random.uniform(*FROZEN_S))
        os.kill(pid, signal.SIGCONT)

    def _start_again(self, target: str) -> None:
        if target == "trainer":  # the worker sees to that
            return
        self._running[target].wait()
        time.sleep(self._random.uniform(*DOWN_S))
        self._running[target] = self.programs.start(target)
