"""The one batch of predictions that runs beside a worker's job. Imports no torch.

Its process may be killed at any moment, since every answer it has counted is stored; so nothing here waits for it.
"""

import logging
import signal
from collections.abc import Callable
from typing import Protocol

from core import batches
from core.batches import Claim
from core.db import Database
from core.errors import ClaimLost, InternalFailure, JobFailure, Killed, NotFound
from core.settings import Settings
from core.tables import BatchStatus
from worker.launch import BATCH_LOG, Process, not_started, start_batch
from worker.stop import Stop

log = logging.getLogger(__name__)


class BatchLauncher(Protocol):
    def __call__(self, claim: Claim, settings: Settings) -> Process: ...


class BatchSlot:
    """``tend`` is called again and again by the loop, whatever else it does; ``give_back`` once, at its end."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        worker_id: str,
        stop: Stop,
        clock: Callable[[], float],
        launch: BatchLauncher = start_batch,
    ) -> None:
        self._settings = settings
        self._db = db
        self._worker_id = worker_id
        self._stop = stop
        self._clock = clock
        self._launch = launch
        self._running: tuple[Claim, Process] | None = None
        self._look_due = 0.0  # for a batch that waits

    def tend(self) -> None:
        """Look after the batch that runs; when none does, start the next one that waits."""
        if self._stop.is_set():
            self.give_back()
        elif self._running is None:
            self._start_next()
        else:
            self._look_after(*self._running)

    def give_back(self) -> None:
        """The worker stops: the batch waits for another one."""
        if self._running is None:
            return
        claim, process = self._running
        process.kill()
        process.wait()
        self._record(claim, None)
        self._running = None

    def _start_next(self) -> None:
        now = self._clock()
        if 0 < self._look_due - now <= self._settings.poll_s:  # more, where the clock was set back
            return
        self._look_due = now + self._settings.poll_s
        with self._db.write() as session:
            for batch_id in batches.release_unwatched(session, self._worker_id):
                log.warning("%s was claimed without our knowledge", batch_id)
            claim = batches.claim(session, self._worker_id, now)
        if claim is not None:
            log.info("claimed %s, attempt %d", claim.batch_id, claim.attempt)
            self._start(claim)

    def _start(self, claim: Claim) -> None:
        try:
            self._running = claim, self._launch(claim, self._settings)
        except OSError as error:
            log.warning("%s, attempt %d: no process started", claim.batch_id, claim.attempt, exc_info=True)
            self._record(claim, not_started(error))

    def _look_after(self, claim: Claim, process: Process) -> None:
        code = process.poll()
        if code is None:
            if self._has_to_go(claim):
                process.kill()
            return
        log.info("%s, attempt %d: its process ended with %d", claim.batch_id, claim.attempt, code)
        self._record(claim, _cause(code))
        self._running = None

    def _has_to_go(self, claim: Claim) -> bool:
        """Whether it was cancelled, is another's by now, or hangs."""
        with self._db.read() as session:
            try:
                batch = batches.get(session, claim.batch_id)
            except NotFound:
                return True
        ours = batch.status is BatchStatus.RUNNING and batch.attempt == claim.attempt
        return not ours or self._clock() - (batch.beat_at or 0.0) > self._settings.stall_s

    def _record(self, claim: Claim, cause: JobFailure | None) -> None:
        """What the process could not say itself. What it did say stands: the claim is over then."""
        try:
            with self._db.write() as session:
                if cause is None:
                    batches.release(session, claim)
                else:
                    batches.retry_or_fail(session, claim, cause, self._clock())
        except (ClaimLost, NotFound):
            log.debug("%s: nothing to add", claim.batch_id)


def _cause(code: int) -> JobFailure:
    if code < 0:
        return Killed(f"The process that answers was killed by {signal.Signals(-code).name}.", BATCH_LOG)
    return InternalFailure(f"The process that answers ended with exit code {code} and gave no reason.", BATCH_LOG)
