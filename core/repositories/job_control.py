"""What people ask of a job that is there: cancel, pause, resume, retry, delete. Each is one guarded statement."""

from typing import Any

from sqlalchemy import delete as delete_rows
from sqlalchemy import update
from sqlalchemy.orm import Session

from core.db.tables import ENDED, Checkpoint, Job, JobStatus
from core.errors import Conflict
from core.recipe import Recipe
from core.repositories import jobs


def cancel(session: Session, job_id: str, now: float, keep: bool = False) -> Job:
    """A waiting job is cancelled at once; a running one is asked to stop. Conflict when it has ended.

    ``keep``: a running one publishes its best epoch so far as a model first; to cancel it again without ``keep`` takes
    that back.
    """
    job = jobs.get(session, job_id)
    if job.status is JobStatus.CANCELLING:
        return job if keep or job.requested_action is None else _request(session, job, None)
    if keep and job.status in (JobStatus.QUEUED, JobStatus.PAUSED):
        raise Conflict(f"A {job.status} job cannot publish what it has; cancel it with keep while it runs.")
    running = job.status is JobStatus.RUNNING
    target = JobStatus.CANCELLING if running else JobStatus.CANCELLED
    columns: dict[str, Any] = {"requested_action": "keep" if keep else None} if running else {"finished_at": now}
    return _asked(session, job, target, now, **columns)


def pause(session: Session, job_id: str, now: float) -> Job:
    """A waiting job is paused at once; a running one when it has written a checkpoint. Conflict when it has ended."""
    job = jobs.get(session, job_id)
    if job.status is JobStatus.PAUSED:
        return job
    if job.status is not JobStatus.RUNNING:
        return _asked(session, job, JobStatus.PAUSED, now)
    return _request(session, job, "pause")


def resume(session: Session, job_id: str, now: float) -> Job:
    """A paused job waits again, and goes on from its last checkpoint. Conflict for one that is not paused."""
    job = jobs.get(session, job_id)
    pausing = job.status is JobStatus.RUNNING and job.requested_action == "pause"
    if pausing:  # it has not stopped yet, or will be queued at once
        return _request(session, job, None)
    if job.status is not JobStatus.PAUSED:
        raise Conflict(f"The job is not paused: it is {job.status}.")
    return _asked(session, job, JobStatus.QUEUED, now)


def retry(session: Session, job_id: str, now: float, queue_limit: int) -> Job:
    """A new job with the same recipe, which goes on from the last checkpoint of a failed or cancelled one.

    A new one, since an ended job stays as it ended.
    """
    job = jobs.get(session, job_id)
    if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
        raise Conflict(f"Only a failed or cancelled job can be tried again; this one is {job.status}.")
    return jobs.enqueue(session, Recipe.model_validate(job.recipe), now, queue_limit, retry_of=job.id)


def forget_checkpoints(session: Session, job_id: str) -> Job:
    """Of an ended job, whose files may go when this is committed; then ``delete``. Conflict while it has not ended."""
    job = jobs.get(session, job_id)
    if job.status not in ENDED:
        raise Conflict(f"The job is {job.status}: cancel it first.")
    session.execute(delete_rows(Checkpoint).where(Checkpoint.job_id == job_id))
    return job


def delete(session: Session, job_id: str) -> None:
    """The row of an ended job, and its events."""
    session.execute(delete_rows(Job).where(Job.id == job_id, Job.status.in_(ENDED)))


def _asked(session: Session, job: Job, to: JobStatus, now: float, **columns: Any) -> Job:
    """Move a job as a person asks; Conflict where that is not possible, or is no longer."""
    if not jobs.move(session, job.id, to, now, only_from={job.status}, **columns):
        raise Conflict(f"The job cannot become {to}: it {_past(job.status)}.")
    session.refresh(job)
    return job


def _request(session: Session, job: Job, action: str | None) -> Job:
    """Request an action of the trainer, which reads it with its next heartbeat."""
    as_it_was = update(Job).where(Job.id == job.id, Job.status == job.status)
    if session.execute(as_it_was.values(requested_action=action).returning(Job.id)).scalar_one_or_none() is None:
        raise Conflict("The job has just changed; look at it again.")
    session.refresh(job)
    return job


def _past(status: JobStatus) -> str:
    return f"was {status}" if status is JobStatus.CANCELLED else str(status)
