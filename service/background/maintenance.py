"""Requeue the jobs and batches of lost workers."""

import asyncio
import logging
import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from core.db.clocks import LeaseGuard, shared_now
from core.db.database import UNAVAILABLE, Database
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
    guard = LeaseGuard(settings.lease_s, clock, monotonic)
    while True:
        await asyncio.sleep(settings.heartbeat_interval_s)
        try:
            await run_in_threadpool(_requeue_lost, db, clock, settings.lease_s, guard)
        except UNAVAILABLE:
            log.warning("the database does not answer; trying again", exc_info=True)


def _requeue_lost(db: Database, clock: Callable[[], float], lease_s: float, guard: LeaseGuard) -> None:
    with db.write() as session:
        session.connection()  # SQLite's writers wait for each other here
        now = shared_now(session, clock())
        guard.database_answered()
        if not guard.is_steady():
            return
        for requeue_lost in (jobs.requeue_lost, batch_predictions.requeue_lost):
            for lost_id in requeue_lost(session, now, lease_s):
                log.warning("%s had lost its worker", lost_id)
