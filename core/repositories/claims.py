"""Claim one waiting row of a table, safely among concurrent callers."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, inspect, select, update
from sqlalchemy.orm import Session

from core.db.tables import Base

Row = TypeVar("Row", bound=Base)


def claim_next(
    session: Session,
    table: type[Row],
    waiting: Sequence[ColumnElement[bool]],
    order_by: Sequence[Any],
    **columns: Any,
) -> Row | None:
    """Update and return the first waiting row; None without one.

    ``columns`` are the values to set.

    One statement, so that two callers never get the same row: rows locked by another caller are skipped. On SQLite,
    which has one writer at a time, the lock clause is left out.
    """
    (key,) = inspect(table).primary_key
    first = select(key).where(*waiting).order_by(*order_by).limit(1).with_for_update(skip_locked=True)
    claimed = update(table).where(key == first.scalar_subquery(), *waiting).values(**columns).returning(table)
    options = {"synchronize_session": False, "populate_existing": True}
    return session.execute(claimed.execution_options(**options)).scalar_one_or_none()
