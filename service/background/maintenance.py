"""Requeue the jobs of lost workers, and forget old answers and uploads."""

import asyncio
import logging
import time

from starlette.concurrency import run_in_threadpool

from core.db.clocks import ClockDriftGuard, shared_now
from core.db.database import Database
from core.repositories import batch_predictions, idempotency, jobs
from core.settings import Settings
from service.uploads import resumable

log = logging.getLogger(__name__)
FORGET_EVERY_S = 600.0


async def maintain(db: Database, settings: Settings) -> None:
    """Run until cancelled.

    Without this, the job of the last worker that dies would stay "running" until another worker starts.
    """
    forget_at, drift_guard = 0.0, ClockDriftGuard(settings.lease_s)
    while True:
        await asyncio.sleep(settings.heartbeat_interval_s)
        if drift_guard.is_steady():
            await run_in_threadpool(_requeue_lost, db, settings.lease_s)
        if time.monotonic() >= forget_at:
            await run_in_threadpool(_forget_answers, db)
            await run_in_threadpool(resumable.sweep, settings, db, time.time())
            forget_at = time.monotonic() + FORGET_EVERY_S


def _requeue_lost(db: Database, lease_s: float) -> None:
    with db.write() as session:
        now = shared_now(session, time.time())
        for requeue_lost in (jobs.requeue_lost, batch_predictions.requeue_lost):
            for lost_id in requeue_lost(session, now, lease_s):
                log.warning("%s had lost its worker", lost_id)


def _forget_answers(db: Database) -> None:
    """Delete the stored answers to requests with an Idempotency-Key that are too old to be repeated."""
    with db.write() as session:
        idempotency.forget(session, time.time())
