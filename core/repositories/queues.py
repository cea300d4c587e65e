"""Queues in tables: refuse a row when too many wait, and claim one safely."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, func, inspect, select, update
from sqlalchemy.orm import Session

from core.db import locks
from core.db.locks import Lock
from core.db.tables import Base, Batch, BatchStatus, Job, JobStatus
from core.errors import Overloaded

Row = TypeVar("Row", bound=Base)
RETRY_AFTER_S = 60
# a paused job counts for its owner: to resume it needs no new place in the queue
WAITING = {Job: (JobStatus.QUEUED, JobStatus.PAUSED), Batch: (BatchStatus.QUEUED,)}
LOCKS = {Job: Lock.JOB_QUEUE, Batch: Lock.BATCH_QUEUE}
NAMES = {Job: "jobs", Batch: "batches"}


def require_room(
    session: Session, table: type[Job] | type[Batch], limit: int, owner: str | None, owner_limit: int | None
) -> None:
    """Raise Overloaded if too many rows of a table wait.

    ``limit`` bounds all queued rows, ``owner_limit`` those of the owner that wait. Concurrent calls wait until the
    transaction ends, so that two of them do not take the same last place.
    """
    locks.take(session, LOCKS[table])
    queued = _count(session, table, table.status == "queued")
    if queued >= limit:
        raise Overloaded(f"{queued} {NAMES[table]} are waiting already.", RETRY_AFTER_S)
    if owner is None or owner_limit is None:
        return
    waiting = _count(session, table, table.owner == owner, table.status.in_(WAITING[table]))
    if waiting >= owner_limit:
        raise Overloaded(f"{waiting} {NAMES[table]} of this API key are waiting already.", RETRY_AFTER_S)


def claim_next(
    session: Session,
    table: type[Row],
    waiting: Sequence[ColumnElement[bool]],
    order_by: Sequence[Any],
    **columns: Any,
) -> Row | None:
    """Update and return the first waiting row; None without one.

    ``columns`` are the values to set.

    One statement, so that two callers never get the same row: rows locked by another caller are skipped. On SQLite,
    which has one writer at a time, the lock clause is left out.
    """
    (key,) = inspect(table).primary_key
    first = select(key).where(*waiting).order_by(*order_by).limit(1).with_for_update(skip_locked=True)
    claimed = update(table).where(key == first.scalar_subquery(), *waiting).values(**columns).returning(table)
    options = {"synchronize_session": False, "populate_existing": True}
    return session.execute(claimed.execution_options(**options)).scalar_one_or_none()


def _count(session: Session, table: type[Job] | type[Batch], *conditions: object) -> int:
    return session.scalar(select(func.count()).select_from(table).where(*conditions)) or 0  # type: ignore[arg-type]
