"""What was answered to a request with an Idempotency-Key, so that the same request again makes nothing anew.

The row is written in the transaction that creates. Of two requests at once the second waits, on SQLite for the write
lock and on PostgreSQL for the first one's row, and then gives the first one's answer.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db.database import Database
from core.db.tables import Creation
from core.errors import Conflict, KeyReused

KEPT_S = 24 * 3600.0
REPLAYED: Mapping[str, str] = {"Idempotent-Replayed": "true"}


@dataclass(frozen=True)
class Wanted:
    """A creation that may be asked for twice."""

    path: str
    owner: str  # id of the API key, "" without keys
    key: str
    body_digest: str


@dataclass(frozen=True)
class Made:
    """What is answered."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]


Make = Callable[[Session], Made]


def digest(body: Any) -> str:
    """The same for the same JSON, however it was written."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def once(db: Database, wanted: Wanted, now: float, make: Make) -> Made:
    """Make it, or give the first answer again. What ``make`` raises is not kept: the same key can be tried again.

    KeyReused when the key came with another body, Conflict while the first request is still being answered.
    """
    try:
        return _once(db, wanted, now, make)
    except IntegrityError:  # PostgreSQL: another one wrote the row meanwhile, and has committed
        return _once(db, wanted, now, make)


def _once(db: Database, wanted: Wanted, now: float, make: Make) -> Made:
    with db.write() as session:
        first = session.get(Creation, (wanted.path, wanted.owner, wanted.key))
        if first is not None:
            return _again(first, wanted)
        row = Creation(
            path=wanted.path,
            owner=wanted.owner,
            idempotency_key=wanted.key,
            body_digest=wanted.body_digest,
            created_at=now,
        )
        session.add(row)
        session.flush()  # before anything is made
        made = make(session)
        row.status, row.headers, row.body = made.status, dict(made.headers), made.body
        return made


def _again(first: Creation, wanted: Wanted) -> Made:
    if first.body_digest != wanted.body_digest:
        raise KeyReused(pointer="header/idempotency-key")
    if first.status is None:
        raise Conflict("The first request with this Idempotency-Key is still being answered.")
    return Made(first.status, {**first.headers, **REPLAYED}, first.body)


def forget(session: Session, now: float) -> None:
    """Answers older than a day."""
    session.execute(delete(Creation).where(Creation.created_at < now - KEPT_S))
