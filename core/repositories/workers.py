"""Registration and heartbeats of workers."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.db.clocks import shared_now
from core.db.tables import Worker


def register(session: Session, worker: Worker) -> None:
    session.add(worker)


def heartbeat(session: Session, worker_id: str, now: float) -> None:
    session.execute(update(Worker).where(Worker.id == worker_id).values(heartbeat_at=now))


def unregister(session: Session, worker_id: str) -> None:
    """Mark a stopped worker as dead.

    Its row stays, since jobs refer to it.
    """
    session.execute(update(Worker).where(Worker.id == worker_id).values(heartbeat_at=0.0))


def count_live(session: Session, now: float, lease_s: float, host: str | None = None) -> int:
    """Count the workers with a heartbeat within the lease.

    ``host``: those on one host only.
    """
    alive = select(func.count()).where(Worker.heartbeat_at >= shared_now(session, now) - lease_s)
    return session.scalar(alive if host is None else alive.where(Worker.host == host)) or 0
