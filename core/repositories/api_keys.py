"""API keys: add, list, revoke, and who a key belongs to. Only the sha256 of a key is stored, never the key.

A key has 256 random bits, so its plain sha256 cannot be guessed back, and looking one up by it tells nothing by its
time: who asks cannot choose the digest.
"""

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.tables import Key
from core.errors import Conflict, InvalidInput, NotFound
from core.ids import new_id
from core.scopes import GivenKey, Scope, allows

PREFIX = "ts_"
ENVIRONMENT = "env:"  # begins the ids of keys that the environment gives


@dataclass(frozen=True)
class Caller:
    """Whose key a request carries."""

    id: str
    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        return allows(self.scopes, scope)


Callers = Mapping[str, Caller]  # by the digest of the key


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def given(keys: Collection[GivenKey]) -> Callers:
    """Those of the environment."""
    return {digest(one.key): Caller(ENVIRONMENT + one.name, one.name, one.scopes) for one in keys}


def stored(session: Session) -> Callers:
    """Those of the database that are not revoked."""
    rows = session.scalars(select(Key).where(Key.revoked_at.is_(None)))
    return {row.digest: Caller(row.id, row.name, frozenset(map(Scope, row.scopes))) for row in rows}


def listed(session: Session) -> Sequence[Key]:
    """Of the database, newest first, the revoked ones too."""
    return session.scalars(select(Key).order_by(Key.id.desc())).all()


def add(session: Session, name: str, scopes: Collection[Scope], now: float, others: Callers) -> tuple[Key, str]:
    """The row and the key itself, which nobody can read again. ``others``: those of the environment.

    InvalidInput when it would be the only key and could not make another.
    """
    if not allows(scopes, Scope.ADMIN) and not (others or stored(session)):
        raise InvalidInput(
            "The first key must have the scope admin: from then on nobody makes another without one.", "/scopes"
        )
    key = PREFIX + secrets.token_urlsafe(32)
    row = Key(id=new_id("key", now), name=name, digest=digest(key), scopes=sorted(scopes), created_at=now)
    session.add(row)
    session.flush()
    return row, key


def revoke(session: Session, key_id: str, now: float, others: Callers) -> None:
    """Once more does nothing. Conflict for one of the environment, and for the last that could make others."""
    if key_id.startswith(ENVIRONMENT):
        raise Conflict(f"{key_id} comes from TUNESERVE_API_KEYS: take it out there, and start the service again.")
    row = session.get(Key, key_id)
    if row is None:
        raise NotFound(f"There is no key {key_id}.")
    left = [caller for caller in (*others.values(), *stored(session).values()) if caller.id != key_id]
    if left and not any(caller.may(Scope.ADMIN) for caller in left):
        raise Conflict("This is the last key with the scope admin, and other keys are left: revoke those first.")
    row.revoked_at = row.revoked_at or now
