"""Locks for one transaction at a time, where no single row can guard."""

from enum import IntEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session


class Lock(IntEnum):
    """Numbers of PostgreSQL's advisory locks; arbitrary, but each its own (7_365_201 is migration's)."""

    JOB_QUEUE = 7_365_202
    BATCH_QUEUE = 7_365_203
    UPLOADS = 7_365_204


def take(session: Session, lock: Lock) -> None:
    """Wait for the lock and hold it until the transaction ends.

    Writers of SQLite wait for each other anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(lock.value)))
