"""A slot for one child process beside the worker's job.

It runs a batch prediction or an export. Imports no torch.

A process may be killed at any moment: what it has finished is stored, and its row is claimed again.
"""

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from core.db.database import Database
from core.db.tables import BatchStatus
from core.errors import ClaimLost, InternalFailure, JobFailure, Killed, NotFound
from core.repositories import batch_predictions, exports
from core.settings import Settings
from worker.processes.launcher import BATCH_LOG, Process, not_started, start_batch, start_export
from worker.processes.stop_event import Stop

log = logging.getLogger(__name__)
EXPORT_TIMEOUT_S = 600.0  # a ResNet-50 takes half a minute on one slow core
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


class BatchWork:
    """Batch predictions as work for a slot."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        worker_id: str,
        clock: Callable[[], float],
        launch: Callable[[batch_predictions.Claim, Settings], Process] = start_batch,
        is_steady: Callable[[], bool] = lambda: True,  # of the clock: whether heartbeats can be judged by their age
    ) -> None:
        self._is_steady = is_steady
        self._settings = settings
        self._db = db
        self._worker_id = worker_id
        self._clock = clock
        self._launch = launch

    def claim(self) -> batch_predictions.Claim | None:
        with self._db.write() as session:
            for batch_id in batch_predictions.release_unwatched(session, self._worker_id):
                log.warning("%s was claimed without our knowledge", batch_id)
            return batch_predictions.claim(session, self._worker_id, self._clock())

    def launch(self, claim: batch_predictions.Claim) -> Process:
        return self._launch(claim, self._settings)

    def must_end(self, claim: batch_predictions.Claim) -> bool:
        """Check whether the batch's process has to be killed.

        That is if the batch was cancelled or deleted, is another attempt's by now, or has stalled.
        """
        with self._db.read() as session:
            try:
                batch = batch_predictions.get(session, claim.batch_id)
            except NotFound:
                return True
        ours = batch.status is BatchStatus.RUNNING and batch.attempt == claim.attempt
        silent_s = self._clock() - (batch.heartbeat_at or 0.0)
        return not ours or (self._is_steady() and silent_s > self._settings.stall_timeout_s)

    def record_end(self, claim: batch_predictions.Claim, code: int) -> None:
        """Record the death of a process that did not end its claim.

        A process that succeeded has ended its claim itself; any other counts as a death, whatever its exit code.
        """
        self.record_failure(claim, _cause(code))

    def record_failure(self, claim: batch_predictions.Claim, failure: JobFailure) -> None:
        try:
            with self._db.write() as session:
                batch_predictions.retry_or_fail(session, claim, failure, self._clock())
        except (ClaimLost, NotFound):
            log.debug("%s has ended already", claim)

    def release(self, claim: batch_predictions.Claim) -> None:
        try:
            with self._db.write() as session:
                batch_predictions.release(session, claim)
        except (ClaimLost, NotFound):
            log.debug("%s has ended already", claim)


@dataclass(frozen=True)
class ExportClaim:
    model_id: str
    until: float  # when its process is killed


class ExportWork:
    """Requested torch.export programs as work for a slot."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        clock: Callable[[], float],
        launch: Callable[[str, Settings], Process] = start_export,
    ) -> None:
        self._settings = settings
        self._db = db
        self._clock = clock
        self._launch = launch

    def claim(self) -> ExportClaim | None:
        with self._db.write() as session:
            model_id = exports.claim(session)
        return None if model_id is None else ExportClaim(model_id, self._clock() + EXPORT_TIMEOUT_S)

    def launch(self, claim: ExportClaim) -> Process:
        return self._launch(claim.model_id, self._settings)

    def must_end(self, claim: ExportClaim) -> bool:
        return self._clock() > claim.until

    def record_end(self, claim: ExportClaim, code: int) -> None:
        """Record that a process was killed.

        One that failed by itself may have recorded why; that stays.
        """
        if code:
            self.record_failure(claim, InternalFailure(f"its process ended with {code}"))

    def record_failure(self, claim: ExportClaim, failure: JobFailure) -> None:
        with self._db.write() as session:
            exports.fail(session, claim.model_id, str(failure), may_retry=True)

    def release(self, claim: ExportClaim) -> None:
        """Record nothing: the request waits for the next worker."""


def _cause(code: int) -> JobFailure:
    if code < 0:
        return Killed(f"The process that answers was killed by {signal.Signals(-code).name}.", BATCH_LOG)
    return InternalFailure(f"The process that answers ended with exit code {code} and gave no reason.", BATCH_LOG)
