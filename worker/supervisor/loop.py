"""The worker's loop: claim a job, run its trainer, record its end.

Imports no torch.
"""

import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from core import logs
from core.checkups import queue as checkups
from core.db.clocks import LeaseGuard, shared_now
from core.db.database import UNAVAILABLE, Database
from core.db.tables import OWNED, Job, JobStatus, Worker
from core.errors import ClaimLost, InternalFailure, JobFailure, Killed, OutOfMemory, TimedOut
from core.ids import new_id
from core.repositories import batch_predictions, jobs, workers
from core.repositories.jobs import Claim
from core.settings import Settings
from worker.processes.exit_codes import EXIT_INTERRUPTED
from worker.processes.launcher import Launcher, Process, not_started, start_trainer
from worker.processes.oom_kills import oom_kills
from worker.processes.stop_event import Stop
from worker.supervisor.export_work import ExportWork
from worker.supervisor.garbage_collector import GarbageCollector
from worker.supervisor.process_slot import ProcessSlot
from worker.supervisor.queued_work import Kind, QueuedWork, batch_predictions_of, checkups_of

log = logging.getLogger(__name__)
STALLED = "See the log for the last thing it did: GET /jobs/{id}/logs."
WATCH_S = 0.2  # interval of checks of a running trainer
Queued = TypeVar("Queued")


class WorkerLoop:
    """A worker that runs one job at a time.

    ``stop`` ends it and requeues its job.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        launch: Launcher = start_trainer,
        clock: Callable[[], float] = time.time,
        while_idle: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
        count_oom_kills: Callable[[], int | None] = oom_kills,
    ) -> None:
        self.stop = Stop()
        self._settings = settings
        self._db = db
        self._launch = launch
        self._clock = clock
        self._while_idle = while_idle
        self._monotonic = monotonic
        self._count_oom_kills = count_oom_kills
        self._heartbeat_due = monotonic()
        self._launched_at = monotonic()  # of the trainer; the wall clock may be set while it runs
        self._guard = LeaseGuard(settings.lease_s, clock, monotonic)
        self.id = new_id("worker", clock())
        self._batches = self._slot(batch_predictions_of(settings))
        self._checkups = self._slot(checkups_of(settings))
        exporting = ExportWork(settings, db, self.id, clock, monotonic)
        self._exports = ProcessSlot(exporting, self.stop, monotonic, settings.poll_s)
        self._garbage = GarbageCollector(settings, db, clock)

    def _slot(self, kind: Kind[Queued]) -> ProcessSlot[Queued]:
        work = QueuedWork(kind, self._settings, self._db, self.id, self._clock, self._guard.is_steady)
        return ProcessSlot(work, self.stop, self._monotonic, self._settings.poll_s)

    def run(self) -> None:
        """Run until ``stop`` is set, or nothing was to be done for as long as the settings say."""
        self._register()
        busy_at = self._monotonic()
        while not self.stop.is_set():
            try:
                claim = self.step()
            except UNAVAILABLE:  # temporarily; the lease decides about jobs that this worker held
                log.warning("the database does not answer; trying again", exc_info=True)
                claim = None
            if claim is not None or any(slot.is_busy for slot in (self._batches, self._exports, self._checkups)):
                busy_at = self._monotonic()
            elif self._monotonic() - busy_at > (self._settings.worker_idle_s or math.inf):
                log.info("nothing was to be done for %g s", self._settings.worker_idle_s)
                self.stop.set()
            if claim is None:
                self.stop.wait(self._settings.poll_s)
        self._batches.give_back()
        self._exports.give_back()
        self._checkups.give_back()
        with self._db.write() as session:
            workers.unregister(session, self.id)

    def step(self) -> Claim | None:
        """Send a heartbeat, requeue lost jobs, and run one queued job."""
        self._heartbeat()
        now = self._clock()
        with self._db.write() as session:
            for job_id in jobs.release_unwatched(session, self.id, now):
                log.warning("%s was claimed without our knowledge", job_id, extra=logs.fields(job_id=job_id))
            claim = jobs.claim(session, self.id, now)
        if claim is not None:
            log.info("claimed %s, attempt %d", claim.job_id, claim.attempt, extra=_about(claim))
            self._run(claim)
        else:
            for duty in (self._batches.tend, self._exports.tend, self._checkups.tend, self._while_idle):
                self._try(duty)
        return claim

    def _run(self, claim: Claim) -> None:
        self._try(self._checkups.give_back)  # a job to train comes first
        kills = self._count_oom_kills()
        self._launched_at = self._monotonic()
        try:
            process = self._launch(claim, self._settings)
        except OSError as error:  # no space for its log, or no memory for its process
            log.warning("%s, attempt %d: no trainer started", claim.job_id, claim.attempt, exc_info=True)
            self._until_recorded(partial(self._record_failure, claim, not_started(error)))
            self._pause()
        else:
            self._watch(claim, process, kills)

    def _register(self) -> None:
        with self._db.write() as session:
            now = shared_now(session, self._clock())
            workers.register(
                session,
                Worker(id=self.id, host=socket.gethostname(), pid=os.getpid(), started_at=now, heartbeat_at=now),
            )

    def _heartbeat(self) -> None:
        """Send this worker's heartbeat, and requeue the jobs of lost workers."""
        if self._monotonic() < self._heartbeat_due:
            return
        self._heartbeat_due = self._monotonic() + self._settings.heartbeat_interval_s
        with self._db.write() as session:
            now = shared_now(session, self._clock())
            workers.heartbeat(session, self.id, now)
            self._guard.database_answered()
            if self._guard.is_steady():
                for lost in (jobs.requeue_lost, batch_predictions.requeue_lost, checkups.requeue_lost):
                    for lost_id in lost(session, now, self._settings.lease_s):
                        log.warning("%s had lost its worker", lost_id)
        self._try(self._garbage.tend)

    def _watch(self, claim: Claim, process: Process, kills: int | None) -> None:
        """Watch the trainer until it has ended, then record how it ended.

        Its deadline is checked first: a frozen trainer may hold the lock that everything else waits for. ``kills``:
        the number of OOM kills before it started.
        """
        stop_by = math.inf  # when a stopping trainer is killed, whatever happens to the wall clock
        stopping = killed = False  # by us
        while process.poll() is None:
            if self.stop.is_set() and not stopping:
                stopping = True
                process.terminate()
                stop_by = min(stop_by, self._monotonic() + self._settings.stop_grace_s)
            if stop_by == math.inf:
                grace_s = self._try(partial(self._grace_s, claim, process))
                stop_by = math.inf if grace_s is None else self._monotonic() + grace_s
            if self._monotonic() >= stop_by:
                killed = True
                process.kill()
            for duty in (self._heartbeat, self._batches.tend, self._exports.tend):
                self._try(duty)
            self._pause()
        code = process.wait()
        log.info("%s, attempt %d: the trainer ended with %d", claim.job_id, claim.attempt, code, extra=_about(claim))
        starved = code == -signal.SIGKILL and not killed and self._has_killed_since(kills)
        self._until_recorded(partial(self._record_end, claim, code, starved))

    def _has_killed_since(self, kills: int | None) -> bool:
        now = self._count_oom_kills()
        return kills is not None and now is not None and now > kills

    def _try(self, duty: Callable[[], float | None]) -> float | None:
        """Run a duty; a failure is logged.

        The duty runs again on its next turn.
        """
        try:
            return duty()
        except (*UNAVAILABLE, OSError):
            log.warning("going on without it for now", exc_info=True)
            return None

    def _until_recorded(self, record: Callable[[], None]) -> None:
        """Retry until the end is recorded.

        While this worker sends heartbeats, nobody else requeues the job.
        """
        while True:
            try:
                return record()
            except UNAVAILABLE:
                if self.stop.is_set():
                    raise
                log.warning("the database does not answer; the job still has to end", exc_info=True)
                self._pause()

    def _pause(self) -> None:
        """Sleep between two checks.

        Once ``stop`` is set, waiting for it would return at once.
        """
        if self.stop.is_set():
            time.sleep(WATCH_S)
        else:
            self.stop.wait(WATCH_S)

    def _grace_s(self, claim: Claim, process: Process) -> float | None:
        """Return the grace before the trainer is killed, in seconds, or None.

        None while it may run. A trainer that exceeds its time is requested to stop here.
        """
        now = self._clock()
        with self._db.read() as session:
            job = session.get(Job, claim.job_id)
        if job is None or job.attempt != claim.attempt or job.worker_id != self.id:
            return 0.0  # fenced: the job is another's, or has ended and was deleted
        if job.status is JobStatus.CANCELLING and job.requested_action != "keep":
            return self._settings.cancel_grace_s  # the trainer reads that with its heartbeat
        if job.status is JobStatus.RUNNING and jobs.is_over_time(job, self._ran_s()):
            process.terminate()
            return self._settings.cancel_grace_s
        if self._guard.is_steady() and now - (job.heartbeat_at or now) > self._settings.stall_timeout_s:
            log.warning(
                "%s: no heartbeat for %.0f s", claim.job_id, now - (job.heartbeat_at or now), extra=_about(claim)
            )
            return 0.0
        return None

    def _ran_s(self) -> float:
        return self._monotonic() - self._launched_at

    def _record_end(self, claim: Claim, code: int, starved: bool) -> None:
        """Record the end of a trainer that has not recorded it itself."""
        now = self._clock()
        try:
            with self._db.write() as session:
                job = session.get(Job, claim.job_id)
                if job is None or job.status not in OWNED:
                    return
                silent_s = now - (job.heartbeat_at or now)
                if not self.stop.is_set() and jobs.is_over_time(job, self._ran_s()):
                    jobs.fail(session, claim, jobs.describe(TimedOut(_limit(job))), now)
                elif self.stop.is_set() or code == EXIT_INTERRUPTED:
                    pausing = job.requested_action == "pause"
                    reason = "a pause was requested" if pausing else "the worker was stopped"
                    jobs.release(session, claim, reason, now, self._ran_s())
                else:
                    cause = _cause(code)
                    if starved:  # the next attempt reads jobs.count_out_of_memory
                        cause = OutOfMemory("The kernel killed the training process: no memory was left.")
                    elif code < 0 and silent_s > self._settings.stall_timeout_s:
                        cause = Killed(f"No heartbeat for {silent_s:.0f} s: killed.", STALLED)
                    jobs.retry_or_fail(session, claim, cause, now, self._ran_s())
        except ClaimLost:
            log.warning("%s belongs to another attempt by now", claim.job_id, extra=_about(claim))

    def _record_failure(self, claim: Claim, failure: JobFailure) -> None:
        try:
            with self._db.write() as session:
                jobs.retry_or_fail(session, claim, failure, self._clock())
        except ClaimLost:
            log.warning("%s belongs to another attempt by now", claim.job_id, extra=_about(claim))


def _about(claim: Claim) -> dict[str, dict[str, Any]]:
    return logs.fields(job_id=claim.job_id, attempt=claim.attempt)


def _limit(job: Job) -> str:
    return f"It ran for longer than its time_limit_s of {job.recipe['time_limit_s']:g}."


def _cause(code: int) -> JobFailure:
    if code < 0:
        return Killed(f"The training process was killed by {signal.Signals(-code).name}.")
    return InternalFailure(f"The training process ended with exit code {code} and gave no reason.")
