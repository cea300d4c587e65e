"""Add, list, revoke and look up API keys.

Only their sha256 is stored.

A key has 256 random bits, so it cannot be found from its plain sha256. Lookup by digest leaks nothing through timing: a
caller cannot choose the digest.
"""

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import exists as sql_exists
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.tables import Key
from core.errors import Conflict, InvalidInput, NotFound
from core.ids import new_id
from core.scopes import GivenKey, Scope, allows

PREFIX = "ts_"
ENVIRONMENT = "env:"  # prefix of the ids of keys from the environment


@dataclass(frozen=True)
class Caller:
    """The owner of a request's API key."""

    id: str
    name: str
    scopes: frozenset[Scope]
    models: frozenset[str] | None = None  # names that it may use; None: any

    def may(self, scope: Scope) -> bool:
        return allows(self.scopes, scope)

    def may_use(self, name: str) -> bool:
        """Check whether the key may use the models of a name."""
        return self.models is None or name in self.models


Callers = Mapping[str, Caller]  # by the digest of the key


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def given(keys: Collection[GivenKey]) -> Callers:
    """Return the callers with keys from the environment."""
    return {digest(one.key): Caller(ENVIRONMENT + one.name, one.name, one.scopes) for one in keys}


def stored(session: Session) -> Callers:
    """Return the callers with keys from the database that are not revoked."""
    rows = session.scalars(select(Key).where(Key.revoked_at.is_(None)))
    return {row.digest: _caller(row) for row in rows}


def _caller(row: Key) -> Caller:
    models = None if row.models is None else frozenset(row.models)
    return Caller(row.id, row.name, frozenset(map(Scope, row.scopes)), models)


def exist(session: Session) -> bool:
    """Check whether a key was ever created, revoked ones included.

    From then on every request needs a key.
    """
    return bool(session.scalar(select(sql_exists().select_from(Key))))


def listed(session: Session) -> Sequence[Key]:
    """List the keys in the database, newest first, revoked ones included."""
    return session.scalars(select(Key).order_by(Key.id.desc())).all()


def add(
    session: Session,
    name: str,
    scopes: Collection[Scope],
    now: float,
    others: Callers,
    models: Collection[str] | None = None,
) -> tuple[Key, str]:
    """Create a key; return its row and its secret.

    The secret cannot be read again.

    ``others``: the callers from the environment. InvalidInput if it would be the only key and lacks the admin scope.
    """
    if not allows(scopes, Scope.ADMIN) and not (others or stored(session)):
        raise InvalidInput(
            "The first key must have the scope admin: without one, no further key can be created.", "/scopes"
        )
    key = PREFIX + secrets.token_urlsafe(32)
    row = Key(id=new_id("key", now), name=name, digest=digest(key), scopes=sorted(scopes), created_at=now)
    row.models = None if models is None else sorted(models)
    session.add(row)
    session.flush()
    return row, key


def revoke(session: Session, key_id: str, now: float, others: Callers) -> None:
    """Revoke a key; repeating it changes nothing.

    After the last one, only a key from the environment lets anybody in. Conflict for a key from the environment, and
    for the last admin key while other keys are left.
    """
    if key_id.startswith(ENVIRONMENT):
        raise Conflict(f"{key_id} comes from TUNESERVE_API_KEYS: take it out there, and start the service again.")
    row = session.get(Key, key_id)
    if row is None:
        raise NotFound(f"There is no key {key_id}.")
    left = [caller for caller in (*others.values(), *stored(session).values()) if caller.id != key_id]
    if left and not any(caller.may(Scope.ADMIN) for caller in left):
        raise Conflict("This is the last key with the scope admin, and other keys are left: revoke those first.")
    row.revoked_at = row.revoked_at or now
