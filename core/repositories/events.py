"""Append to and read each job's durable event log.

Event numbers have no gaps, since the job's own row hands them out.
"""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.tables import OWNED, Event, Job
from core.errors import ClaimLost, NotFound
from core.repositories import webhook_deliveries


def append(
    session: Session, job_id: str, kind: str, data: dict[str, Any], now: float, attempt: int | None = None
) -> int:
    """Write one event and its webhook deliveries; return its number.

    With ``attempt``, ClaimLost is raised and nothing is written unless that attempt owns the job.
    """
    number = update(Job).where(Job.id == job_id).values(last_event=Job.last_event + 1).returning(Job.last_event)
    if attempt is not None:
        number = number.where(Job.attempt == attempt, Job.status.in_(OWNED))
    given = session.execute(number).scalar_one_or_none()
    if given is None:
        raise NotFound(f"There is no job {job_id}.") if attempt is None else ClaimLost()
    event = Event(job_id=job_id, number=given, at=now, kind=kind, data=data)
    session.add(event)
    session.flush()
    webhook_deliveries.announce(session, event)
    return given


def after(session: Session, job_id: str, number: int, limit: int, *kinds: str) -> list[Event]:
    """List at most ``limit`` events after a number, oldest first.

    ``kinds``: the kinds to list; all without any.
    """
    query = select(Event).where(Event.job_id == job_id, Event.number > number).order_by(Event.number).limit(limit)
    if kinds:
        query = query.where(Event.kind.in_(kinds))
    return list(session.scalars(query))
