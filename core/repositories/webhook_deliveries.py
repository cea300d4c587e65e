"""What webhooks are to be told: a row for each delivery, written with its event and taken until it is done.

Whoever takes a delivery moves its next try ahead in the same statement, so that no two send it at the same time. One
that dies meanwhile is followed by another after the lease: a delivery may come twice, with the same id.
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
from core.repositories.claims import claim_next

KINDS = ("status", "metrics", "checkpoint")  # of events that webhooks can be told
KEEP_S = 7 * 86_400.0  # a delivery that is done, for people to look at
MOST_ERROR_CHARACTERS = 1000


@dataclass(frozen=True)
class Taken:
    """A delivery that is ours until its lease ends."""

    id: str
    tries: int  # this one is counted
    payload: dict[str, Any]
    url: str
    host: str
    secret: str | None = field(repr=False)


def announce(session: Session, event: Event) -> None:
    """Write the deliveries that the event's job asks for, due at once."""
    if event.kind not in KINDS:
        return
    job = session.execute(select(Job.recipe, Job.status, Job.model_id).where(Job.id == event.job_id)).one()
    webhook = job.recipe["webhook"]
    if webhook is None:
        return
    told = {event.kind} | ({"done"} if event.kind == "status" and job.status in ENDED else set())
    data = {"job_id": event.job_id, "status": job.status, "model_id": job.model_id}
    data |= {"event": event.number, "detail": event.data}
    for kind in sorted(told & set(webhook["events"])):
        payload = {"type": f"job.{kind}", "timestamp": datetime.fromtimestamp(event.at, UTC).isoformat(), "data": data}
        row = Delivery(
            id=new_id("delivery", event.at),
            job_id=event.job_id,
            host=_host_of(webhook["url"]),
            payload=payload,
            created_at=event.at,
            due_at=event.at,
        )
        session.add(row)
    session.flush()


def any_due(session: Session, now: float, busy: Collection[str] = ()) -> bool:
    """To be asked first: it takes no lock."""
    return bool(session.scalar(select(exists().where(*_due(now, busy)))))


def take(session: Session, now: float, lease_s: float, busy: Collection[str] = ()) -> Taken | None:
    """Claim the delivery that has been due longest, to none of the ``busy`` hosts, until the lease ends; or None."""
    row = claim_next(
        session,
        Delivery,
        waiting=_due(now, busy),
        order_by=[Delivery.due_at, Delivery.id],
        tries=Delivery.tries + 1,
        due_at=now + lease_s,
    )
    if row is None:
        return None
    webhook = session.scalars(select(Job.recipe).where(Job.id == row.job_id)).one()["webhook"]
    return Taken(row.id, row.tries, row.payload, webhook["url"], row.host, webhook["secret"])


def done(session: Session, taken: Taken, now: float, error: str | None = None) -> None:
    """Delivered; with an error, given up."""
    _set(session, taken, done_at=now, error=error)


def try_again(session: Session, taken: Taken, due_at: float, error: str) -> None:
    _set(session, taken, due_at=due_at, error=error)


def of_job(session: Session, job_id: str, after: str | None, limit: int) -> list[Delivery]:
    """Newest first. ``after`` is the id of the last one of the page before."""
    query = select(Delivery).where(Delivery.job_id == job_id).order_by(Delivery.id.desc()).limit(limit)
    if after is not None:
        query = query.where(Delivery.id < after)
    return list(session.scalars(query))


def forget_done(session: Session, now: float) -> None:
    """Delete what was done long ago."""
    session.execute(delete(Delivery).where(Delivery.done_at < now - KEEP_S))


def _due(now: float, busy: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    return Delivery.done_at.is_(None), Delivery.due_at <= now, Delivery.host.not_in(busy)


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.lower()[:255]


def _set(session: Session, taken: Taken, **columns: Any) -> None:
    """Unless somebody else tries by now, since the lease has ended."""
    if columns["error"] is not None:
        columns["error"] = columns["error"][:MOST_ERROR_CHARACTERS]
    session.execute(
        update(Delivery)
        .where(Delivery.id == taken.id, Delivery.tries == taken.tries, Delivery.done_at.is_(None))
        .values(**columns)
    )
