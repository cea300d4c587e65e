"""A job's metrics in the order of its training, from its events: a record an epoch, and a thinned one within epochs."""

from collections.abc import Iterable
from typing import Any

from core.db.tables import Event

Record = dict[str, Any]


def of(events: Iterable[Event]) -> list[Record]:
    """What an attempt did over again stands in place of what earlier ones had done from there on."""
    history: list[Record] = []
    for event in events:
        while history and _place(history[-1]) >= _place(event.data):
            history.pop()
        history.append(event.data)
    return history


def _place(record: Record) -> float:
    """Return a record's position in epochs."""
    return float(record["step"] * record["epochs"] / record["steps"] if "step" in record else record["epoch"])
