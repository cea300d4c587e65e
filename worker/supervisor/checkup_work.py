"""Check-ups of data sets as work for a slot; no torch."""

import logging
from collections.abc import Callable

from core.checkups import queue
from core.checkups.queue import Claim
from core.db.database import Database
from core.db.tables import CheckupStatus
from core.errors import ClaimLost, InternalFailure, JobFailure
from core.settings import Settings
from worker.processes.launcher import Process, start_checkup

log = logging.getLogger(__name__)
STALL_S = 1800.0  # without a heartbeat; to compare 100,000 images with each other takes minutes


class CheckupWork:
    """Check-ups as work for a slot.

    They have an idle worker: the loop gives a running one back before a trainer starts.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        worker_id: str,
        clock: Callable[[], float],
        launch: Callable[[Claim, Settings], Process] = start_checkup,
        is_steady: Callable[[], bool] = lambda: True,  # of the clock: whether heartbeats can be judged by their age
    ) -> None:
        self._settings = settings
        self._db = db
        self._worker_id = worker_id
        self._clock = clock
        self._launch = launch
        self._is_steady = is_steady

    def claim(self) -> Claim | None:
        if not self._settings.max_checkup_images:
            return None
        with self._db.write() as session:
            queue.release_unwatched(session, self._worker_id)
            return queue.claim(session, self._worker_id, self._clock())

    def launch(self, claim: Claim) -> Process:
        return self._launch(claim, self._settings)

    def must_end(self, claim: Claim) -> bool:
        """Check whether the process has to be killed.

        That is if its data set was changed or deleted, or if it has stalled.
        """
        with self._db.read() as session:
            checkup = queue.find(session, claim.dataset)
        if checkup is None or checkup.status is not CheckupStatus.RUNNING or checkup.attempt != claim.attempt:
            return True
        return self._is_steady() and self._clock() - (checkup.heartbeat_at or 0.0) > STALL_S

    def record_end(self, claim: Claim, code: int) -> None:
        """Record the death of a process that did not end its claim."""
        self.record_failure(claim, InternalFailure(f"The process that checks ended with {code}; see checkups.log."))

    def record_failure(self, claim: Claim, failure: JobFailure) -> None:
        self._unless_lost(claim, lambda session: queue.record_death(session, claim, str(failure), self._clock()))

    def release(self, claim: Claim) -> None:
        self._unless_lost(claim, lambda session: queue.release(session, claim, self._clock()))

    def _unless_lost(self, claim: Claim, record: Callable[..., None]) -> None:
        try:
            with self._db.write() as session:
                record(session)
        except ClaimLost:
            log.debug("%s has ended already", claim)
