"""Requeue the jobs and batches of lost workers."""

import asyncio
import logging
import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from core.db.clocks import ClockDriftGuard, shared_now
from core.db.database import Database
from core.repositories import batch_predictions, jobs
from core.settings import Settings

log = logging.getLogger(__name__)


async def maintain(
    db: Database,
    settings: Settings,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Requeue lost jobs and batches until cancelled.

    Without this, the job of the last worker that dies would stay "running" until another worker starts.
    """
    drift_guard = ClockDriftGuard(settings.lease_s, clock, monotonic)
    while True:
        await asyncio.sleep(settings.heartbeat_interval_s)
        if drift_guard.is_steady():
            await run_in_threadpool(_requeue_lost, db, clock(), settings.lease_s)


def _requeue_lost(db: Database, wall_now: float, lease_s: float) -> None:
    with db.write() as session:
        now = shared_now(session, wall_now)
        for requeue_lost in (jobs.requeue_lost, batch_predictions.requeue_lost):
            for lost_id in requeue_lost(session, now, lease_s):
                log.warning("%s had lost its worker", lost_id)
