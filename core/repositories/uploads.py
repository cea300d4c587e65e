"""Rows of resumable uploads: whose each is, and how long it will be. The bytes lie in a file of the row's id."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.db.tables import Upload
from core.ids import new_id


def add(session: Session, length: int, owner: str | None, now: float) -> Upload:
    upload = Upload(id=new_id("upload", now), length=length, owner=owner, created_at=now)
    session.add(upload)
    session.flush()
    return upload


def find(session: Session, upload_id: str) -> Upload | None:
    return session.get(Upload, upload_id)


def everyone(session: Session) -> Sequence[Upload]:
    return session.scalars(select(Upload).order_by(Upload.id)).all()


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Upload)) or 0


def remove(session: Session, upload_id: str) -> None:
    """Delete a row; repeating it changes nothing. Commit before deleting the file."""
    session.execute(delete(Upload).where(Upload.id == upload_id))
