"""Batch predictions and check-ups as work for a slot; no torch."""

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sqlalchemy.orm import Session

from core.checkups import queue as checkups
from core.db.database import Database
from core.errors import ClaimLost, InternalFailure, JobFailure, Killed
from core.repositories import batch_predictions
from core.settings import Settings
from worker.processes.launcher import BATCH_LOG, CHECKUP_LOG, Process, start_batch, start_checkup

log = logging.getLogger(__name__)
CHECKUP_STALL_S = 1800.0  # to compare 100,000 images with each other takes minutes
Claim = TypeVar("Claim")


class Queue(Protocol[Claim]):
    """A module of core that keeps one kind of work in a table, fenced by attempt."""

    def claim(self, session: Session, worker_id: str, now: float, /) -> Claim | None: ...

    def last_heartbeat(self, session: Session, claim: Claim, /) -> float | None: ...

    def release(self, session: Session, claim: Claim, /) -> None: ...

    def release_unwatched(self, session: Session, worker_id: str, /) -> list[str]: ...

    def retry_or_fail(self, session: Session, claim: Claim, failure: JobFailure, now: float, /) -> None: ...


@dataclass(frozen=True)
class Kind(Generic[Claim]):
    """A queue, and how a worker runs the processes of its work."""

    queue: Queue[Claim]
    start: Callable[[Claim, Settings], Process]
    stall_s: float  # without a heartbeat, after which a process is killed
    log_hint: str
    is_on: bool = True


def batch_predictions_of(settings: Settings) -> Kind[batch_predictions.Claim]:
    return Kind(batch_predictions, start_batch, settings.stall_timeout_s, BATCH_LOG)


def checkups_of(settings: Settings) -> Kind[checkups.Claim]:
    """Describe check-ups, which have an idle worker.

    The loop gives a running one back before a trainer starts.
    """
    return Kind(checkups, start_checkup, CHECKUP_STALL_S, CHECKUP_LOG, is_on=settings.max_checkup_images > 0)


class QueuedWork(Generic[Claim]):
    """Work of one kind of queue, whose processes send heartbeats and end their claims."""

    def __init__(
        self,
        kind: Kind[Claim],
        settings: Settings,
        db: Database,
        worker_id: str,
        clock: Callable[[], float],
        is_steady: Callable[[], bool] = lambda: True,  # of the clock: whether heartbeats can be judged by their age
    ) -> None:
        self._kind = kind
        self._settings = settings
        self._db = db
        self._worker_id = worker_id
        self._clock = clock
        self._is_steady = is_steady

    def claim(self) -> Claim | None:
        if not self._kind.is_on:
            return None
        with self._db.write() as session:
            for name in self._kind.queue.release_unwatched(session, self._worker_id):
                log.warning("%s was claimed without our knowledge", name)
            return self._kind.queue.claim(session, self._worker_id, self._clock())

    def launch(self, claim: Claim) -> Process:
        return self._kind.start(claim, self._settings)

    def must_end(self, claim: Claim) -> bool:
        """Check whether the claim is lost or its process has stalled."""
        with self._db.read() as session:
            heartbeat_at = self._kind.queue.last_heartbeat(session, claim)
        if heartbeat_at is None:
            return True
        return self._is_steady() and self._clock() - heartbeat_at > self._kind.stall_s

    def record_end(self, claim: Claim, code: int) -> None:
        """Record the death of a process that did not end its claim.

        A process that succeeded has ended its claim itself; any other counts as a death, whatever its exit code.
        """
        self.record_failure(claim, _cause(code, self._kind.log_hint))

    def record_failure(self, claim: Claim, failure: JobFailure) -> None:
        now = self._clock()
        self._unless_lost(claim, lambda session: self._kind.queue.retry_or_fail(session, claim, failure, now))

    def release(self, claim: Claim) -> None:
        self._unless_lost(claim, lambda session: self._kind.queue.release(session, claim))

    def _unless_lost(self, claim: Claim, record: Callable[[Session], None]) -> None:
        try:
            with self._db.write() as session:
                record(session)
        except ClaimLost:
            log.debug("%s has ended already", claim)


def _cause(code: int, log_hint: str) -> JobFailure:
    if code < 0:
        return Killed(f"Its process was killed by {signal.Signals(-code).name}.", log_hint)
    return InternalFailure(f"Its process ended with exit code {code} and gave no reason.", log_hint)
