"""Requests to export models with torch.export, which workers carry out.

A request is a row and outlives the process that works on it; after three attempts it has failed. A worker's claim holds
while the worker is alive. Should two make the same file at once all the same, it is stored whole, and either is good.
"""

from sqlalchemy import exists, or_
from sqlalchemy.orm import Session

from core.db.clocks import shared_now
from core.db.tables import Export, ExportStatus, Model, Worker
from core.repositories.models import find_whole
from core.repositories.queues import claim_next

MAX_ATTEMPTS = 3


def request(session: Session, name: str, now: float) -> Model:
    """Request the program of a model unless it exists.

    Returns the model. A failed export is queued anew, with all its attempts.
    """
    model = find_whole(session, name)
    session.refresh(model, with_for_update=True)  # of two concurrent requests, the second sees the first one's row
    export = session.get(Export, model.id)
    if export is None:
        session.add(Export(model_id=model.id, status=ExportStatus.QUEUED, requested_at=now))
        session.flush()
    elif export.status is ExportStatus.FAILED:
        export.status, export.attempts, export.error = ExportStatus.QUEUED, 0, None
    return model


def get(session: Session, model_id: str) -> Export:
    """Return the export of a model whose program was requested."""
    return session.get_one(Export, model_id)


def claim(session: Session, worker_id: str, now: float, lease_s: float) -> str | None:
    """Claim the export queued longest; return its model's id.

    Counts an attempt. None if no export is queued that no other worker, alive within the lease, works on.
    """
    alive = exists().where(Worker.id == Export.worker_id, Worker.heartbeat_at >= shared_now(session, now) - lease_s)
    export = claim_next(
        session,
        Export,
        waiting=[Export.status == ExportStatus.QUEUED, or_(Export.worker_id == worker_id, ~alive)],
        order_by=[Export.requested_at, Export.model_id],
        worker_id=worker_id,
        attempts=Export.attempts + 1,
    )
    return None if export is None else export.model_id


def succeed(session: Session, model_id: str) -> None:
    """Record that the file is stored."""
    get(session, model_id).status = ExportStatus.SUCCEEDED


def fail(session: Session, model_id: str, reason: str, may_retry: bool = False) -> None:
    """Record a failed attempt of an export.

    ``may_retry``: it stays queued while attempts are left.
    """
    export = get(session, model_id)
    if export.status is ExportStatus.QUEUED and not (may_retry and export.attempts < MAX_ATTEMPTS):
        export.status, export.error = ExportStatus.FAILED, reason
    export.worker_id = None


def release(session: Session, model_id: str) -> None:
    """Leave a queued export to the next worker."""
    get(session, model_id).worker_id = None
