"""Webhook deliveries, each a row written in its event's transaction.

A claim moves the next attempt ahead by a lease in the same statement, so that no two senders send it at the same time.
If the sender dies, another one sends it after the lease: a delivery may arrive twice, with the same id.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, delete, exists, select, update
from sqlalchemy.orm import Session

from core.db.tables import ENDED, Delivery, Event, Job
from core.ids import new_id
from core.repositories.queues import claim_next

KINDS = ("status", "metrics", "checkpoint")  # of events that webhooks deliver
KEEP_S = 7 * 86_400.0  # completed deliveries, for people to look at
MAX_ERROR_CHARACTERS = 1000


@dataclass(frozen=True)
class Taken:
    """A delivery claimed until its lease ends."""

    id: str
    attempts: int  # this one included
    payload: dict[str, Any]
    url: str
    host: str
    secret: str | None = field(repr=False)


def announce(session: Session, event: Event) -> None:
    """Write the deliveries that the event's job subscribes to, due at once."""
    if event.kind not in KINDS:
        return
    job = session.execute(select(Job.recipe, Job.status, Job.model_id).where(Job.id == event.job_id)).one()
    webhook = job.recipe["webhook"]
    if webhook is None:
        return
    kinds = {event.kind} | ({"done"} if event.kind == "status" and job.status in ENDED else set())
    data = {"job_id": event.job_id, "status": job.status, "model_id": job.model_id}
    data |= {"event": event.number, "detail": event.data}
    for kind in sorted(kinds & set(webhook["events"])):
        payload = {"type": f"job.{kind}", "timestamp": datetime.fromtimestamp(event.at, UTC).isoformat(), "data": data}
        row = Delivery(
            id=new_id("delivery", event.at),
            job_id=event.job_id,
            host=_host_of(webhook["url"]),
            payload=payload,
            created_at=event.at,
            next_attempt_at=event.at,
        )
        session.add(row)
    session.flush()


def any_due(session: Session, now: float, busy: Collection[str] = ()) -> bool:
    """Check without a lock whether a delivery is due."""
    return bool(session.scalar(select(exists().where(*_due(now, busy)))))


def take(session: Session, now: float, lease_s: float, busy: Collection[str] = ()) -> Taken | None:
    """Claim the delivery due longest until the lease ends.

    Deliveries to ``busy`` hosts are left out. None if no other is due.
    """
    row = claim_next(
        session,
        Delivery,
        waiting=_due(now, busy),
        order_by=[Delivery.next_attempt_at, Delivery.id],
        attempts=Delivery.attempts + 1,
        next_attempt_at=now + lease_s,
    )
    if row is None:
        return None
    webhook = session.scalars(select(Job.recipe).where(Job.id == row.job_id)).one()["webhook"]
    return Taken(row.id, row.attempts, row.payload, webhook["url"], row.host, webhook["secret"])


def complete(session: Session, taken: Taken, now: float, error: str | None = None) -> None:
    """Record the delivery as delivered or, with an error, as given up."""
    _set(session, taken, completed_at=now, error=error)


def retry(session: Session, taken: Taken, next_attempt_at: float, error: str) -> None:
    _set(session, taken, next_attempt_at=next_attempt_at, error=error)


def of_job(session: Session, job_id: str, after: str | None, limit: int) -> list[Delivery]:
    """List a page of a job's deliveries, newest first.

    ``after``: the id of the previous page's last delivery.
    """
    query = select(Delivery).where(Delivery.job_id == job_id).order_by(Delivery.id.desc()).limit(limit)
    if after is not None:
        query = query.where(Delivery.id < after)
    return list(session.scalars(query))


def delete_completed(session: Session, now: float) -> None:
    """Delete deliveries that were completed long ago."""
    session.execute(delete(Delivery).where(Delivery.completed_at < now - KEEP_S))


def _due(now: float, busy: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    return Delivery.completed_at.is_(None), Delivery.next_attempt_at <= now, Delivery.host.not_in(busy)


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.lower()[:255]


def _set(session: Session, taken: Taken, **columns: Any) -> None:
    """Update the delivery, unless another sender has claimed it since.

    Another sender can claim it once the lease has ended.
    """
    if columns["error"] is not None:
        columns["error"] = columns["error"][:MAX_ERROR_CHARACTERS]
    session.execute(
        update(Delivery)
        .where(Delivery.id == taken.id, Delivery.attempts == taken.attempts, Delivery.completed_at.is_(None))
        .values(**columns)
    )
