"""Status changes of batch predictions, each one guarded SQL statement.

The attempt number is the fencing token: a process names the attempt it claimed and gets ClaimLost once the batch has a
later one. Files are written before the row: ``done`` counts results that are stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.orm import Session

from core.db.tables import Batch, BatchStatus, Worker
from core.errors import ClaimLost, Conflict, JobFailure, NotFound, WorkerLost
from core.repositories.jobs import describe
from core.repositories.queues import claim_next, require_room

TRANSITIONS: dict[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.QUEUED: frozenset({BatchStatus.RUNNING, BatchStatus.CANCELLED}),
    BatchStatus.RUNNING: frozenset(
        {BatchStatus.QUEUED, BatchStatus.SUCCEEDED, BatchStatus.FAILED, BatchStatus.CANCELLED}
    ),
    BatchStatus.SUCCEEDED: frozenset(),
    BatchStatus.FAILED: frozenset(),
    BatchStatus.CANCELLED: frozenset(),
}
ENDED = frozenset(status for status, following in TRANSITIONS.items() if not following)
EXPIRED_AT_A_TIME = 100
MAX_FAILED_ATTEMPTS = 4  # without one more result; a batch handed back is no failed attempt
MAX_DEATHS = 20  # of one batch's processes: some ten images that crash or hang their decoder
ALONE = 2  # deaths while one image was read alone: it is the image


@dataclass(frozen=True)
class Claim:
    """The right of one attempt to write to a batch.

    It ends when another attempt claims the batch or a person cancels it.
    """

    batch_id: str
    attempt: int


# -- requests from people


def key_of(batch_id: str) -> str:
    """Return the batch's folder in the store."""
    return f"batches/{batch_id}"


def enqueue(
    session: Session,
    batch_id: str,
    options: dict[str, Any],
    total: int,
    now: float,
    queue_limit: int,
    owner: str | None = None,
    owner_limit: int | None = None,
) -> Batch:
    """Write the row of a batch whose images are stored.

    Overloaded if ``queue_limit`` batches are queued, or ``owner_limit`` of the owner's.
    """
    require_room(session, Batch, queue_limit, owner, owner_limit)
    batch = Batch(
        id=batch_id,
        status=BatchStatus.QUEUED,
        options=options,
        owner=owner,
        key=key_of(batch_id),
        total=total,
        created_at=now,
    )
    session.add(batch)
    session.flush()
    return batch


def get(session: Session, batch_id: str) -> Batch:
    batch = session.get(Batch, batch_id)
    if batch is None:
        raise unknown(batch_id)
    return batch


def unknown(batch_id: str) -> NotFound:
    return NotFound(f"There is no batch of predictions {batch_id}.")


def page(
    session: Session, status: BatchStatus | None, after: str | None, limit: int, owner: str | None = None
) -> tuple[Sequence[Batch], bool]:
    """List batches, newest first, and whether more follow.

    ``after`` is the id of the previous page's last batch; ``owner``: only those of that API key.
    """
    query = select(Batch).order_by(Batch.id.desc()).limit(limit + 1)
    if status is not None:
        query = query.where(Batch.status == status)
    if after is not None:
        query = query.where(Batch.id < after)
    if owner is not None:
        query = query.where(Batch.owner == owner)
    found = session.scalars(query).all()
    return found[:limit], len(found) > limit


def cancel(session: Session, batch_id: str, now: float) -> Batch:
    """Cancel a batch at once; its stored results stay.

    A process that works on it gets ClaimLost at its next write. Conflict if the batch has ended.
    """
    batch = get(session, batch_id)
    if not _move(session, batch_id, BatchStatus.CANCELLED, finished_at=now):
        raise Conflict(f"The batch has ended: it is {batch.status}.")
    session.refresh(batch)
    return batch


def delete_files(session: Session, batch_id: str, now: float) -> Batch:
    """Record that an ended batch's files are deleted.

    Conflict before the batch has ended.

    Commit before deleting the files.
    """
    batch = get(session, batch_id)
    if batch.status not in ENDED:
        raise Conflict(f"The batch is {batch.status}: POST /batches/{batch_id}/cancel first.")
    batch.files_deleted_at = batch.files_deleted_at or now
    return batch


def expire(session: Session, before: float, now: float) -> Sequence[Batch]:
    """Record the deletion of files of batches that ended before a time.

    Returns at most EXPIRED_AT_A_TIME of them, deletions that were cut off included. Commit before deleting the files.
    """
    is_due = or_(Batch.finished_at < before, Batch.files_deleted_at.is_not(None))
    due = select(Batch).where(Batch.status.in_(ENDED), is_due).order_by(Batch.id).limit(EXPIRED_AT_A_TIME)
    found = session.scalars(due).all()
    for batch in found:
        batch.files_deleted_at = batch.files_deleted_at or now
    return found


def delete(session: Session, batch_id: str) -> None:
    """Delete the row of a batch whose files are deleted.

    Repeating it changes nothing.
    """
    session.execute(sql_delete(Batch).where(Batch.id == batch_id, Batch.files_deleted_at.is_not(None)))


# -- the worker


def claim(session: Session, worker_id: str, now: float) -> Claim | None:
    """Claim the oldest queued batch; None if none is queued."""
    batch = claim_next(
        session,
        Batch,
        waiting=[Batch.status == BatchStatus.QUEUED],
        order_by=[Batch.created_at, Batch.id],
        status=BatchStatus.RUNNING,
        worker_id=worker_id,
        attempt=Batch.attempt + 1,
        started_at=func.coalesce(Batch.started_at, now),
        heartbeat_at=now,
        reading=None,
    )
    return None if batch is None else Claim(batch.id, batch.attempt)


def last_heartbeat(session: Session, claim: Claim) -> float | None:
    """Return the time of the last heartbeat; None once the claim is lost."""
    return session.scalar(select(Batch.heartbeat_at).where(*_owned(claim)))


def record(session: Session, claim: Claim, now: float, **columns: Any) -> None:
    """Record a heartbeat and columns of a claimed batch.

    After ClaimLost the caller must stop and write nothing.
    """
    ours = update(Batch).where(*_owned(claim)).values(heartbeat_at=now, **columns).returning(Batch.id)
    if session.execute(ours).scalar_one_or_none() is None:
        raise ClaimLost(f"Attempt {claim.attempt} no longer owns {claim.batch_id}.")


def succeed(session: Session, claim: Claim, now: float) -> None:
    _end_attempt(session, claim, BatchStatus.SUCCEEDED, finished_at=now, error=None)


def release(session: Session, claim: Claim) -> None:
    """Requeue a batch; it continues after its last stored result."""
    _end_attempt(session, claim, BatchStatus.QUEUED, worker_id=None)


def release_unwatched(session: Session, worker_id: str) -> list[str]:
    """Requeue this worker's running batches; return their ids.

    To be called while the worker runs no process for them.
    """
    held = select(Batch).where(Batch.worker_id == worker_id, Batch.status == BatchStatus.RUNNING)
    found = session.scalars(held).all()
    for batch in found:
        release(session, Claim(batch.id, batch.attempt))
    return [batch.id for batch in found]


def retry_or_fail(session: Session, claim: Claim, failure: JobFailure, now: float) -> None:
    """Requeue a batch after a failed attempt, or fail it.

    MAX_FAILED_ATTEMPTS that stored no result in between end it, or MAX_DEATHS in all. The row keeps the reason.
    """
    batch = session.get(Batch, claim.batch_id)
    if batch is None:
        raise ClaimLost(f"{claim.batch_id} was deleted.")
    deaths = _deaths(batch)
    deaths.update(all=deaths["all"] + 1, in_a_row=deaths["in_a_row"] + 1)
    deaths["alone"] += batch.reading == batch.done
    error = describe(failure) | {"deaths": deaths | {"done": batch.done}}
    if deaths["in_a_row"] < MAX_FAILED_ATTEMPTS and deaths["all"] < MAX_DEATHS:
        _end_attempt(session, claim, BatchStatus.QUEUED, worker_id=None, error=error)
    else:
        _end_attempt(session, claim, BatchStatus.FAILED, finished_at=now, error=error)


def is_deadly(batch: Batch) -> bool:
    """Check whether the next image has ended processes that read it alone."""
    return _deaths(batch)["alone"] >= ALONE


def _deaths(batch: Batch) -> dict[str, int]:
    """Count failed attempts: all; those since the last result; of these, those that read the next image alone."""
    found: dict[str, int] = (batch.error or {}).get("deaths", {"all": 0})
    since = found if found.get("done") == batch.done else {}
    return {"all": found["all"], "in_a_row": since.get("in_a_row", 0), "alone": since.get("alone", 0)}


def requeue_lost(session: Session, now: float, lease_s: float) -> list[str]:
    """Requeue or fail batches of lost workers; return their ids.

    A worker is lost if it sent no heartbeat within the lease.
    """
    alive = exists().where(Worker.id == Batch.worker_id, Worker.heartbeat_at >= now - lease_s)
    silent_ones = select(Batch).where(Batch.status == BatchStatus.RUNNING, ~alive)
    lost = session.scalars(silent_ones.with_for_update(skip_locked=True, of=Batch)).all()
    for batch in lost:
        failure = WorkerLost(f"Worker {batch.worker_id} is lost: no heartbeat for {lease_s:g} s.")
        retry_or_fail(session, Claim(batch.id, batch.attempt), failure, now)
    return [batch.id for batch in lost]


# -- the guarded statements


def _owned(claim: Claim) -> tuple[Any, ...]:
    """Build the conditions under which a claim still owns its batch.

    The status counts too: a requeued batch keeps its attempt number but has no owner.
    """
    return Batch.id == claim.batch_id, Batch.attempt == claim.attempt, Batch.status == BatchStatus.RUNNING


def _end_attempt(session: Session, claim: Claim, to: BatchStatus, **columns: Any) -> None:
    if not _move(session, claim.batch_id, to, *_owned(claim), **columns):
        raise ClaimLost(f"Attempt {claim.attempt} came too late to make {claim.batch_id} {to}.")


def _move(session: Session, batch_id: str, to: BatchStatus, *guards: Any, **columns: Any) -> bool:
    """Change the status if the transition is allowed.

    Returns False if it is not, or if a guard does not hold.
    """
    sources = [status for status, following in TRANSITIONS.items() if to in following]
    guarded = update(Batch).where(Batch.id == batch_id, Batch.status.in_(sources), *guards)
    moved = session.execute(guarded.values(status=to, **columns).returning(Batch.id)).scalar_one_or_none()
    return moved is not None
