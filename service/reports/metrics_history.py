"""Order a job's metrics from its events.

There is a record for each epoch, and thinned ones within epochs.
"""

from collections.abc import Iterable
from typing import Any

from core.db.tables import Event

Record = dict[str, Any]


def of(events: Iterable[Event]) -> list[Record]:
    """List the records in training order, the latest attempt's over earlier ones.

    What an attempt repeats replaces what earlier ones recorded from there on.
    """
    history: list[Record] = []
    for event in events:
        while history and _place(history[-1]) >= _place(event.data):
            history.pop()
        history.append(event.data)
    return history


def _place(record: Record) -> float:
    """Return a record's position in epochs."""
    return float(record["step"] * record["epochs"] / record["steps"] if "step" in record else record["epoch"])
