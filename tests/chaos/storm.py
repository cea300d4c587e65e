"""A storm: random blows on processes while jobs are posted and changed.

Blows fall on service, workers and trainers, by a seed. A killed service or worker is started again, as a supervisor
would. What came of it all is told by tests.chaos.books.
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
from functools import partial

import httpx

from tests.chaos.clients import ENDED, Clients
from tests.integration.conftest import TINY, Programs, processes_with, wait_for

# the network with the quickest export; and never at the end of its attempts
RECIPE = TINY | {"network": "squeezenet1_1", "train_samples": 64, "max_attempts": 100}
KINDS = ("kill", "terminate", "freeze")
TARGETS = ("service", "worker", "trainer")
BETWEEN_S = (0.5, 4.0)  # from one blow to the next: some come while a process still starts
FROZEN_S = (0.3, 4.5)  # the longer ones outlast the lease of 3 s
DOWN_S = (0.0, 2.0)  # until the supervisor has noticed
GRACE_S = 40  # for a process that was told to stop; the worker gives its trainer 20 of them
CANCELLED = 0.15  # of the jobs, as soon as they are posted
VERBS = ("pause", "resume", "retry", "cancel", "delete")
ASKED = 0.5  # how likely one of these is asked of some job, whatever its state, before each blow


@dataclass
class Storm:
    """A storm that counts its blows.

    ``blows``: what has fallen, as "kill trainer" and the like. ``rude``: processes that SIGTERM did not end well.
    """

    programs: Programs
    seed: int
    waiting: int = 3  # jobs that are kept waiting or running
    workers: int = 1
    posted: list[str] = field(default_factory=list)
    blows: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)  # verbs that were allowed
    deleted: set[str] = field(default_factory=set)
    rude: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._plan = random.Random(self.seed)  # of the blows alone, so that a seed deals them in the same order
        self._random = random.Random(self.seed)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.clients = Clients(self.programs.url)

    def blow(self, count: int) -> None:
        """Deal ``count`` blows, then wait for calm.

        It is calm when every job has ended or nothing moves any more.
        """
        for name in ("service", *(f"worker {number}" for number in range(self.workers))):
            self._running[name] = self._start(name)
        with self.clients:
            while self.blows.total() < count:
                self._keep_busy()
                if self._random.random() < ASKED:
                    self._ask_something()
                time.sleep(self._random.uniform(*BETWEEN_S))
                self._strike()
            for job_id in self._left():
                with suppress(AssertionError):  # a job that is stuck, for the books
                    wait_for(partial(self._has_ended, job_id), f"{job_id} to end")

    def _keep_busy(self) -> None:
        while len(self._open()) < self.waiting:
            recipe = RECIPE | {"epochs": self._random.randint(1, 3), "seed": len(self.posted)}
            job_id = self._posted(self._ask("POST", "/jobs", json=recipe))
            if self._random.random() < CANCELLED:
                self._ask("POST", f"/jobs/{job_id}/cancel")

    def _open(self) -> list[str]:
        return [job_id for job_id in self._left() if self._status(job_id) not in (*ENDED, "paused")]

    def _left(self) -> list[str]:
        return [job_id for job_id in self.posted if job_id not in self.deleted]

    def _status(self, job_id: str) -> str:
        return str(self._ask("GET", f"/jobs/{job_id}").json()["status"])

    def _has_ended(self, job_id: str) -> bool:
        """Check whether a job has ended; resume a paused one.

        A paused job would rest for ever.
        """
        status = self._status(job_id)
        if status == "paused":
            self._ask("POST", f"/jobs/{job_id}/resume")
        return status in ENDED

    def _posted(self, answer: httpx.Response) -> str:
        job_id = str(answer.json()["id"])
        self.posted.append(job_id)
        self.clients.follow(job_id)
        return job_id

    def _ask_something(self) -> None:
        """Request something of any job, whether allowed or not.

        A job that is deleted has been followed to its end, for the books.
        """
        verb, job_id = self._random.choice(VERBS), self._random.choice(self._left())
        if verb == "delete":
            allowed = self.clients.listeners[job_id].done and self._delete(job_id)
        else:
            answer = self._ask("POST", f"/jobs/{job_id}/{verb}")
            allowed = answer.is_success
            if allowed and verb == "retry":
                self._posted(answer)
        self.asked[verb] += allowed

    def _delete(self, job_id: str) -> bool:
        """Delete a job and return whether it is gone.

        A 404 counts: the first try's answer was cut off.
        """
        gone = self._ask("DELETE", f"/jobs/{job_id}").status_code in (204, 404)
        if gone:
            self.deleted.add(job_id)
        return gone

    def _ask(self, method: str, path: str, json: object = None) -> httpx.Response:
        """Send a request until it is answered, with one idempotency key.

        A careful client does so; the same key makes one job.
        """
        headers = {"Idempotency-Key": str(uuid.uuid4())}

        def answer() -> httpx.Response | None:
            with suppress(httpx.TransportError):
                given = self.programs.http.request(method, path, headers=headers, json=json)
                return None if given.status_code == 409 and json else given  # the first try is still being answered
            return None

        return wait_for(answer, f"{method} {path}")

    # -- blows

    def _strike(self) -> None:
        kind, target = self._plan.choice(KINDS), self._plan.choice(TARGETS)
        strike = {"kill": self._kill, "terminate": self._terminate, "freeze": self._freeze}[kind]
        struck = self._some(target)
        if struck is None:  # no trainer just now
            return
        with suppress(ProcessLookupError):  # it ended by itself in between
            strike(*struck)
            self.blows[f"{kind} {target}"] += 1

    def _some(self, target: str) -> tuple[int, str] | None:
        """Choose a process of that kind; return its id and name."""
        if target == "trainer":
            pids = [pid for job_id in self._left() for pid in processes_with(job_id)]
            return (self._random.choice(pids), target) if pids else None
        name = self._random.choice([name for name in self._running if name.startswith(target)])
        return self._running[name].pid, name

    def _kill(self, pid: int, name: str) -> None:
        os.kill(pid, signal.SIGKILL)
        self._start_again(name)

    def _terminate(self, pid: int, name: str) -> None:
        os.kill(pid, signal.SIGTERM)
        if name == "trainer":
            return
        try:
            code = self._running[name].wait(GRACE_S)
        except subprocess.TimeoutExpired:
            os.kill(pid, signal.SIGKILL)
            code = -signal.SIGKILL
        if code not in (0, -signal.SIGTERM):  # the latter: told before it could listen
            self.rude.append(f"{name} ended with {code}")
        self._start_again(name)

    def _freeze(self, pid: int, name: str) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self._random.uniform(*FROZEN_S))
        os.kill(pid, signal.SIGCONT)

    def _start_again(self, name: str) -> None:
        if name == "trainer":  # the worker sees to that
            return
        self._running[name].wait()
        time.sleep(self._random.uniform(*DOWN_S))
        self._running[name] = self._start(name)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        return self.programs.start(name.split()[0])
