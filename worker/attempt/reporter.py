"""Reports of the trainer: heartbeats, phases, progress and epochs.

Every write names the attempt, and is refused once another attempt owns the job.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.db.database import UNAVAILABLE, Database
from core.db.tables import Base, JobStatus, Model, Phase
from core.errors import ClaimLost, DiskFull, NotFound
from core.repositories import events, jobs
from core.repositories.jobs import Claim
from worker.processes.exit_codes import EXIT_CLAIM_LOST
from worker.processes.stop_event import Stop
from worker.training.failure_codes import classify

log = logging.getLogger(__name__)
AWAY_S = 120.0  # that a database may be away, as when it restarts; SQLite waits for others by itself
AGAIN_S = 1.0
T = TypeVar("T")
Listener = Callable[
    [str, dict[str, Any]], None
]  # called with events once they are written; of "recipe" and "ended" too
LOST: dict[str, Any] = {"status": None, "metrics": {}, "model_id": None, "model": None}


class Reporter:
    """Write the reports of one attempt of a job.

    ``stop`` is set when the training has to end early; ``keeps`` says whether it publishes what it has then.
    """

    def __init__(
        self, db: Database, claim: Claim, heartbeat_interval_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self.claim = claim
        self.stop = Stop()
        self.keeps = False
        self._db = db
        self._heartbeat_interval_s = heartbeat_interval_s
        self._clock = clock
        self.started_at = clock()
        self.phases: list[dict[str, Any]] = []
        self.listeners: list[Listener] = []
        self._over = threading.Event()

    def start_heartbeat(self) -> None:
        threading.Thread(target=self._send_heartbeats, name="heartbeat", daemon=True).start()

    def heartbeat(self) -> None:
        """Send a heartbeat; set ``stop`` and ``keeps`` if people request it."""
        with self._db.write() as session:
            job = jobs.heartbeat(session, self.claim, self._clock())
        self.keeps = job.requested_action == "keep"
        if job.status is JobStatus.CANCELLING or job.requested_action == "pause":
            self.stop.set()

    def phase(self, phase: Phase, message: str = "") -> None:
        """Begin a phase of the job, ending the one before."""
        now = self._clock()
        self._end_phase(now)
        self.phases.append({"phase": phase, "started_at": now, "ended_at": None, "message": message})
        status = {"status": JobStatus.RUNNING, "phase": phase, "message": message}

        def write(session: Session) -> None:
            jobs.record(session, self.claim, phase=phase, phases=self.phases)
            self._event(session, "status", status)

        self.write(write)
        log.info("%s %s", phase, message)
        self._tell("status", status)

    def ended_phases(self) -> list[dict[str, Any]]:
        """End the last phase and return all of them.

        They go into the row of a job that succeeds.
        """
        self._end_phase(self._clock())
        return self.phases

    def seconds_in(self, phase: Phase) -> float:
        """Return the seconds a phase has taken so far in this attempt."""
        now = self._clock()
        of_phase = [entry for entry in self.phases if entry["phase"] == phase]
        return float(sum((entry["ended_at"] or now) - entry["started_at"] for entry in of_phase))

    def record(self, **columns: Any) -> None:
        self.write(lambda session: jobs.record(session, self.claim, heartbeat_at=self._clock(), **columns))
        self._tell_recipe(columns)

    def progress(self, **columns: Any) -> None:
        """Record columns that the next call repeats.

        They are dropped while the database is away.
        """
        try:
            with self._db.write() as session:
                jobs.record(session, self.claim, heartbeat_at=self._clock(), **columns)
        except UNAVAILABLE:
            log.warning("progress could not be written", exc_info=True)

    def write(self, write: Callable[[Session], T]) -> T:
        """Run ``write`` in a transaction, and retry while the database is away.

        Returns its result. Hours of training are not lost to a short outage. A full disk is not retried: it takes no
        checkpoint either.
        """
        until = self._clock() + AWAY_S
        while True:
            try:
                with self._db.write() as session:
                    return write(session)
            except UNAVAILABLE as error:
                if isinstance(classify(error), DiskFull) or self._clock() > until:
                    raise
                log.warning("the database is away; trying again", exc_info=True)
            time.sleep(AGAIN_S)

    def event(self, kind: str, data: dict[str, Any], *rows: Base, **columns: Any) -> None:
        """Log an event together with rows and columns of the job.

        All are written in one transaction.
        """

        def write(session: Session) -> None:
            jobs.record(session, self.claim, heartbeat_at=self._clock(), **columns)
            session.add_all(rows)
            self._event(session, kind, data)

        self.write(write)
        self._tell_recipe(columns)
        self._tell(kind, data)

    def log(self, message: str) -> None:
        log.info(message)
        self.event("log", {"message": message})

    def ended(self) -> None:
        """Notify the callbacks that this attempt is over.

        They get the job's ``status`` (None once it is another attempt's), ``metrics``, ``model_id`` and ``model``, such
        as "digits/3".
        """
        self._over.set()
        if self.listeners:
            self._tell("ended", self._standing())

    def _standing(self) -> dict[str, Any]:
        try:
            with self._db.read() as session:
                job = jobs.get(session, self.claim.job_id)
                model = session.get(Model, job.model_id) if job.model_id else None
        except (NotFound, SQLAlchemyError):
            log.warning("how the job stands cannot be read", exc_info=True)
            return LOST
        if job.attempt != self.claim.attempt:
            return LOST
        reference = f"{model.name}/{model.version}" if model else None
        return {"status": job.status, "metrics": job.metrics, "model_id": job.model_id, "model": reference}

    def _tell_recipe(self, columns: dict[str, Any]) -> None:
        if "resolved_recipe" in columns:
            self._tell("recipe", columns["resolved_recipe"])

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        for listener in self.listeners:
            listener(kind, data)

    def _event(self, session: Session, kind: str, data: dict[str, Any]) -> None:
        events.append(session, self.claim.job_id, kind, data, self._clock(), self.claim.attempt)

    def _end_phase(self, now: float) -> None:
        if self.phases and self.phases[-1]["ended_at"] is None:
            self.phases[-1]["ended_at"] = now

    def _send_heartbeats(self) -> None:
        """Send heartbeats until the attempt is over.

        Exits the process at once when another attempt owns the job, since every write is refused then.
        """
        while not self._over.is_set():
            try:
                self.heartbeat()
            except ClaimLost:
                if self._over.is_set():
                    return
                log.warning("attempt %d no longer owns %s: leaving", self.claim.attempt, self.claim.job_id)
                os._exit(EXIT_CLAIM_LOST)
            except SQLAlchemyError:
                log.warning("the heartbeat could not be written; trying again", exc_info=True)
            self._over.wait(self._heartbeat_interval_s)  # a daemon thread: the process may end without it
