"""Rows of resumable uploads, with owner and length.

The bytes lie in a file named by the row's id.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from core.db import locks
from core.db.clocks import shared_now
from core.db.locks import Lock
from core.db.tables import Upload
from core.errors import Overloaded
from core.ids import new_id

RETRY_AFTER_S = 60
SILENT_S = 10.0  # after which a request that writes a piece gives way to another one
HOW_TO_END = "GET /uploads lists them, and DELETE /uploads/{id} ends one."


def lock(session: Session) -> None:
    """Lock out new uploads until the transaction ends.

    So no other upload is announced between the check of all uploads and the insertion of a new one.
    """
    locks.take(session, Lock.UPLOADS)


def require_room(session: Session, limit: int, owner: str | None, owner_limit: int) -> None:
    """Raise Overloaded if ``limit`` uploads are open, or ``owner_limit`` of the owner's."""
    if (found := _count(session)) >= limit:
        raise Overloaded(f"{found} uploads are open, TUNESERVE_MAX_OPEN_UPLOADS: {HOW_TO_END}", RETRY_AFTER_S)
    if owner is not None and (found := _count(session, Upload.owner == owner)) >= owner_limit:
        raise Overloaded(
            f"{found} uploads of this API key are open, TUNESERVE_MAX_OPEN_UPLOADS_PER_KEY: {HOW_TO_END}",
            RETRY_AFTER_S,
        )


def add(session: Session, length: int, name: str | None, owner: str | None, now: float) -> Upload:
    upload = Upload(id=new_id("upload", now), length=length, name=name, owner=owner, created_at=now)
    session.add(upload)
    session.flush()
    return upload


def find(session: Session, upload_id: str) -> Upload | None:
    return session.get(Upload, upload_id)


def everyone(session: Session) -> Sequence[Upload]:
    return session.scalars(select(Upload).order_by(Upload.id)).all()


def page(session: Session, after: str | None, limit: int, owner: str | None) -> tuple[Sequence[Upload], bool]:
    """List uploads, newest first, and whether more follow.

    ``after`` is the id of the previous page's last upload; ``owner``: only those of that API key.
    """
    query = select(Upload).order_by(Upload.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(Upload.id < after)
    if owner is not None:
        query = query.where(Upload.owner == owner)
    found = session.scalars(query).all()
    return found[:limit], len(found) > limit


def begin_piece(session: Session, upload_id: str, writer: str, now: float) -> bool:
    """Make a request the only one that writes; False while another one does.

    One that has been silent for SILENT_S has lost its place: its service may be dead.
    """
    now = shared_now(session, now)
    free = or_(Upload.writer.is_(None), Upload.written_at < now - SILENT_S)
    return _note(session, upload_id, free, writer=writer, written_at=now)


def still_writes(session: Session, upload_id: str, writer: str, now: float) -> bool:
    """Note that a request still writes; False if it has lost its place."""
    return _note(session, upload_id, Upload.writer == writer, written_at=shared_now(session, now))


def end_piece(session: Session, upload_id: str, writer: str) -> None:
    """Let another request write; one that has lost its place changes nothing."""
    _note(session, upload_id, Upload.writer == writer, writer=None)


def _note(session: Session, upload_id: str, condition: ColumnElement[bool], **columns: Any) -> bool:
    noted = update(Upload).where(Upload.id == upload_id, condition).values(**columns).returning(Upload.id)
    return session.execute(noted).scalar_one_or_none() is not None


def remove(session: Session, upload_id: str) -> None:
    """Delete a row; repeating it changes nothing. Commit before deleting the file."""
    session.execute(delete(Upload).where(Upload.id == upload_id))


def _count(session: Session, *conditions: object) -> int:
    return session.scalar(select(func.count()).select_from(Upload).where(*conditions)) or 0  # type: ignore[arg-type]
