"""Idempotency records: the stored response to each request with an Idempotency-Key.

The record is written in the transaction that creates the resource. Of two concurrent requests, the second waits for the
first, on SQLite for the write lock and on PostgreSQL for its row, and returns the same response.
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
from core.db.tables import IdempotencyRecord
from core.errors import Conflict, KeyReused

KEPT_S = 24 * 3600.0
REPLAYED: Mapping[str, str] = {"Idempotent-Replayed": "true"}


@dataclass(frozen=True)
class IdempotentRequest:
    """The identity of a request with an Idempotency-Key."""

    path: str
    owner: str  # id of the API key, "" without keys
    key: str
    body_digest: str


@dataclass(frozen=True)
class CreatedResponse:
    """The response to such a request."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]


Make = Callable[[Session], CreatedResponse]


def digest(body: Any) -> str:
    """Hash a JSON value, independent of its formatting."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def once(db: Database, request: IdempotentRequest, now: float, make: Make) -> CreatedResponse:
    """Run ``make`` once for each request, and return the stored response afterwards.

    An exception from ``make`` is not stored, so that the request can be retried with the same key. KeyReused if the key
    was used with another body, Conflict while the first request is still in progress.
    """
    try:
        return _once(db, request, now, make)
    except IntegrityError:  # PostgreSQL: a concurrent request has written and committed the row
        return _once(db, request, now, make)


def _once(db: Database, request: IdempotentRequest, now: float, make: Make) -> CreatedResponse:
    with db.write() as session:
        first = session.get(IdempotencyRecord, (request.path, request.owner, request.key))
        if first is not None:
            return _again(first, request)
        row = IdempotencyRecord(
            path=request.path,
            owner=request.owner,
            idempotency_key=request.key,
            body_digest=request.body_digest,
            created_at=now,
        )
        session.add(row)
        session.flush()  # before anything is made
        made = make(session)
        row.status, row.headers, row.body = made.status, dict(made.headers), made.body
        return made


def _again(first: IdempotencyRecord, request: IdempotentRequest) -> CreatedResponse:
    if first.body_digest != request.body_digest:
        raise KeyReused(pointer="header/idempotency-key")
    if first.status is None:
        raise Conflict("The first request with this Idempotency-Key is still being answered.")
    return CreatedResponse(first.status, {**first.headers, **REPLAYED}, first.body)


def forget(session: Session, now: float) -> None:
    """Delete records older than a day."""
    session.execute(delete(IdempotencyRecord).where(IdempotencyRecord.created_at < now - KEPT_S))
