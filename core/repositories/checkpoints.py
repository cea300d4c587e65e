"""Queries for the checkpoints of a job."""

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from core.artifacts.manifest import fetch_checked, read_manifest
from core.artifacts.store import ArtifactStore
from core.db.tables import Checkpoint, Job
from core.errors import Damaged, NotFound


def newest_whole(
    session: Session, store: ArtifactStore, job_id: str, after_an_epoch: bool = False
) -> Checkpoint | None:
    """Return the newest checkpoint whose files are complete and undamaged."""
    rows = (row for row in of_run(session, job_id) if row.metrics or not after_an_epoch)
    return next((row for row in rows if is_whole(store, row)), None)


def is_whole(store: ArtifactStore, row: Checkpoint) -> bool:
    try:
        for name in read_manifest(store, row.key)["files"]:
            fetch_checked(store, row.key, name)
    except (NotFound, Damaged):
        return False
    return True


def has_row(session: Session, key: str) -> bool:
    """Check whether a checkpoint has this key."""
    return bool(session.scalar(select(exists().where(Checkpoint.key == key))))


def newest_at(session: Session) -> float | None:
    """Return the time of the newest checkpoint; None without one."""
    return session.scalar(select(func.max(Checkpoint.created_at)))


def of_run(session: Session, job_id: str) -> list[Checkpoint]:
    """List checkpoints of a job and of the jobs it retries.

    The job's come first, newest first, then those of the job it retries, and so on.
    """
    found: list[Checkpoint] = []
    while job_id:
        found += of_job(session, job_id)
        job = session.get(Job, job_id)
        job_id = (job and job.retry_of) or ""
    return found


def of_job(session: Session, job_id: str) -> list[Checkpoint]:
    """List a job's checkpoints, newest first.

    Those of a later attempt count as newer.
    """
    newest_first = (Checkpoint.attempt.desc(), Checkpoint.epoch.desc(), Checkpoint.step.desc())
    return list(session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(*newest_first)))
