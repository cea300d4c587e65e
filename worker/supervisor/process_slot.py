"""A slot for one child process beside the worker's job.

It runs a batch prediction, a check-up or an export. Imports no torch.

A process may be killed at any moment: what it has finished is stored, and its row is claimed again.
"""

import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from core.errors import JobFailure
from worker.processes.launcher import Process, not_started
from worker.processes.stop_event import Stop

log = logging.getLogger(__name__)
Claim = TypeVar("Claim")


class Work(Protocol[Claim]):
    """Work that waits for a process, and the records of its end.

    A queue of one kind of work.
    """

    def claim(self) -> Claim | None: ...

    def launch(self, claim: Claim) -> Process: ...

    def must_end(self, claim: Claim) -> bool:
        """Check whether the process has to be killed."""
        ...

    def record_end(self, claim: Claim, code: int) -> None:
        """Record what a process that ended could not record itself."""
        ...

    def record_failure(self, claim: Claim, failure: JobFailure) -> None: ...

    def release(self, claim: Claim) -> None: ...


class ProcessSlot(Generic[Claim]):
    """Run one process at a time.

    The loop calls ``tend`` repeatedly and ``give_back`` at its end.
    """

    def __init__(self, work: Work[Claim], stop: Stop, clock: Callable[[], float], poll_s: float) -> None:
        self._work = work
        self._stop = stop
        self._clock = clock
        self._poll_s = poll_s
        self._running: tuple[Claim, Process] | None = None
        self._poll_due = 0.0

    @property
    def is_busy(self) -> bool:
        return self._running is not None

    def tend(self) -> None:
        """Check the running process, or start the next one that waits."""
        if self._stop.is_set():
            self.give_back()
        elif self._running is None:
            self._start_next()
        else:
            self._check(*self._running)

    def give_back(self) -> None:
        """Kill the process, so that another worker can claim its work."""
        if self._running is None:
            return
        claim, process = self._running
        process.kill()
        process.wait()
        self._work.release(claim)
        self._running = None

    def _start_next(self) -> None:
        now = self._clock()
        if now < self._poll_due:
            return
        self._poll_due = now + self._poll_s
        claim = self._work.claim()
        if claim is None:
            return
        log.info("claimed %s", claim)
        try:
            self._running = claim, self._work.launch(claim)
        except OSError as error:
            log.warning("no process started for %s", claim, exc_info=True)
            self._work.record_failure(claim, not_started(error))

    def _check(self, claim: Claim, process: Process) -> None:
        code = process.poll()
        if code is None:
            if self._work.must_end(claim):
                process.kill()
            return
        log.info("the process of %s ended with %d", claim, code)
        self._work.record_end(claim, code)
        self._running = None
