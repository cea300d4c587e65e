"""Delete old rows and files of the service.

They are stored answers to repeated requests, expired uploads, deleted data sets and ended batches.
"""

import asyncio
import time

from starlette.concurrency import run_in_threadpool

from core.artifacts.store import ArtifactStore
from core.db.database import Database
from core.repositories import batch_predictions, idempotency
from core.settings import Settings
from service.datasets.file_store import FileStore
from service.datasets.versions import expire
from service.uploads import resumable

CLEAN_UP_EVERY_S = 60.0
DAY_S = 24 * 3600.0


async def clean_up(db: Database, store: ArtifactStore, settings: Settings) -> None:
    """Clean up every ``CLEAN_UP_EVERY_S`` until cancelled.

    It runs beside the requeueing of lost jobs, since many large files take a while.
    """
    await asyncio.sleep(settings.heartbeat_interval_s)
    while True:
        await run_in_threadpool(_forget_answers, db, time.time())
        await run_in_threadpool(resumable.sweep, settings, db, time.time())
        await run_in_threadpool(expire, db, settings)
        await run_in_threadpool(FileStore(settings.dataset_files_dir).sweep_deleted, db)
        await run_in_threadpool(delete_old_batches, db, store, settings.batch_retention_days * DAY_S, time.time())
        await asyncio.sleep(CLEAN_UP_EVERY_S)


def delete_old_batches(db: Database, store: ArtifactStore, kept_s: float, now: float) -> None:
    """Delete batches that ended ``kept_s`` ago; 0 keeps them.

    Interrupted deletions are finished too.
    """
    with db.write() as session:
        expired = batch_predictions.expire(session, now - kept_s if kept_s else 0.0, now)
    for batch in expired:
        store.delete(batch.key)
        with db.write() as session:
            batch_predictions.delete(session, batch.id)


def _forget_answers(db: Database, now: float) -> None:
    """Delete stored answers that are too old to be repeated.

    They belong to requests with an Idempotency-Key.
    """
    with db.write() as session:
        idempotency.forget(session, now)
