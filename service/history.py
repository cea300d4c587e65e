"""A job's metrics in the order of its training: a record an epoch and, if wanted, a thinned one within epochs."""

from typing import Any

from sqlalchemy.orm import Session

from core import events, jobs

Record = dict[str, Any]


def read(session: Session, job_id: str, steps: bool) -> list[Record]:
    """What an attempt did over again stands in place of what earlier ones had done from there on."""
    last = jobs.get(session, job_id).last_event
    history: list[Record] = []
    for event in events.after(session, job_id, 0, last, "metrics", *(["step"] if steps else [])):
        while history and _place(history[-1]) >= _place(event.data):
            history.pop()
        history.append(event.data)
    return history


def _place(record: Record) -> float:
    """In epochs."""
    return float(record["step"] * record["epochs"] / record["steps"] if "step" in record else record["epoch"])
