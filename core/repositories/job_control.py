"""Cancel, pause, resume, retry and delete jobs, each by one guarded statement."""

from typing import Any

from sqlalchemy import delete as delete_rows
from sqlalchemy import update
from sqlalchemy.orm import Session

from core.db.tables import ENDED, Checkpoint, Job, JobStatus
from core.errors import Conflict
from core.recipes.recipe import Recipe
from core.repositories import jobs


def cancel(session: Session, job_id: str, now: float, keep: bool = False) -> Job:
    """Cancel a queued job, or request a running one to stop.

    Conflict after its end.

    ``keep``: a running job first publishes its best epoch so far as a model. Cancelling again without ``keep`` takes
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
    return _move(session, job, target, now, **columns)


def pause(session: Session, job_id: str, now: float) -> Job:
    """Pause a queued job, or a running one after a checkpoint.

    Conflict after its end.
    """
    job = jobs.get(session, job_id)
    if job.status is JobStatus.PAUSED:
        return job
    if job.status is not JobStatus.RUNNING:
        return _move(session, job, JobStatus.PAUSED, now)
    return _request(session, job, "pause")


def resume(session: Session, job_id: str, now: float) -> Job:
    """Requeue a paused job; it continues from its last checkpoint.

    Conflict if it is not paused.
    """
    job = jobs.get(session, job_id)
    pausing = job.status is JobStatus.RUNNING and job.requested_action == "pause"
    if pausing:  # it has not stopped yet, or will be requeued at once
        return _request(session, job, None)
    if job.status is not JobStatus.PAUSED:
        raise Conflict(f"The job is not paused: it is {job.status}.")
    return _move(session, job, JobStatus.QUEUED, now)


def retry(
    session: Session,
    job_id: str,
    now: float,
    queue_limit: int,
    owner: str | None = None,
    owner_limit: int | None = None,
) -> Job:
    """Enqueue a new job that continues a failed or cancelled one.

    It continues from the last checkpoint.

    A new job, since an ended job never changes its status.
    """
    job = jobs.get(session, job_id)
    if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
        raise Conflict(f"Only a failed or cancelled job can be retried; this one is {job.status}.")
    recipe = Recipe.model_validate(job.recipe)
    return jobs.enqueue(session, recipe, now, queue_limit, owner, owner_limit, retry_of=job.id)


def forget_checkpoints(session: Session, job_id: str) -> Job:
    """Delete the checkpoint rows of an ended job; Conflict before its end.

    After the commit the files can be deleted, then the job by ``delete``.
    """
    job = jobs.get(session, job_id)
    if job.status not in ENDED:
        raise Conflict(f"The job is {job.status}: cancel it first.")
    session.execute(delete_rows(Checkpoint).where(Checkpoint.job_id == job_id))
    return job


def delete(session: Session, job_id: str) -> None:
    """Delete the row of an ended job, with its events."""
    session.execute(delete_rows(Job).where(Job.id == job_id, Job.status.in_(ENDED)))


def _move(session: Session, job: Job, to: JobStatus, now: float, **columns: Any) -> Job:
    """Change a job's status on request.

    Conflict if its status does not allow that, or has just changed.
    """
    if not jobs.move(session, job.id, to, now, only_from={job.status}, **columns):
        raise Conflict(f"The job cannot become {to}: it {_past(job.status)}.")
    session.refresh(job)
    return job


def _request(session: Session, job: Job, action: str | None) -> Job:
    """Request an action from the trainer.

    The trainer reads it with its next heartbeat; None takes a request back.
    """
    unchanged = update(Job).where(Job.id == job.id, Job.status == job.status)
    if session.execute(unchanged.values(requested_action=action).returning(Job.id)).scalar_one_or_none() is None:
        raise Conflict("The job has just changed: fetch it again.")
    session.refresh(job)
    return job


def _past(status: JobStatus) -> str:
    return f"was {status}" if status is JobStatus.CANCELLED else str(status)
