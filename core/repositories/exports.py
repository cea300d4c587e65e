"""Files that are made of a model when somebody asks for them. A worker makes them, beside its job if it has one.

The wish is a row, and whoever works on it may be killed at any moment: the wish stays, and is tried three times. Two
workers may make the same file at once; it is stored whole, and is as good from either.
"""

from sqlalchemy.orm import Session

from core.db.tables import Export, ExportStatus, Model
from core.repositories.claims import claim_next
from core.repositories.models import find_whole

MOST_TRIES = 3


def want(session: Session, name: str, now: float) -> Model:
    """The model, whose program will be made unless it is there. One that failed is tried anew."""
    model = find_whole(session, name)
    session.refresh(model, with_for_update=True)  # of two who ask at once, the second sees the first one's wish
    export = session.get(Export, model.id)
    if export is None:
        session.add(Export(model_id=model.id, status=ExportStatus.WANTED, wanted_at=now))
        session.flush()
    elif export.status is ExportStatus.FAILED:
        export.status, export.tries, export.error = ExportStatus.WANTED, 0, None
    return model


def get(session: Session, model_id: str) -> Export:
    """Of a model whose program was wanted."""
    return session.get_one(Export, model_id)


def claim(session: Session) -> str | None:
    """Count an attempt of the export that has waited longest and return its model's id; None if none waits."""
    export = claim_next(
        session,
        Export,
        waiting=[Export.status == ExportStatus.WANTED],
        order_by=[Export.wanted_at, Export.model_id],
        tries=Export.tries + 1,
    )
    return None if export is None else export.model_id


def made(session: Session, model_id: str) -> None:
    """To be said once the file is stored."""
    get(session, model_id).status = ExportStatus.MADE


def failed(session: Session, model_id: str, reason: str, last: bool = True) -> None:
    """It is tried again where that was not the ``last`` word, while tries are left."""
    export = get(session, model_id)
    if export.status is ExportStatus.WANTED and (last or export.tries >= MOST_TRIES):
        export.status, export.error = ExportStatus.FAILED, reason
