"""What a notebook shows of jobs, models and predictions."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tuneserve.progress import accuracy, line, result
from tuneserve.types import Job, Model

MAX_CLASSES, MAX_ROWS = 30, 50  # of a table; more are counted


def job(shown: Job) -> str:
    """Draw a job's progress."""
    percent = 100 if shown.status == "succeeded" else shown.progress.get("percent", 0)
    bar = f'<progress max="100" value="{percent}" style="width: 20em"></progress>'
    said = line(shown) if shown.status == "running" else result(shown)
    return f"<div>{bar} <b>{escape(shown.name or shown.id)}</b>: {escape(said)}</div>"


def model(shown: Model) -> str:
    """Draw a model's test result and its confusion matrix."""
    head = f"<b>{escape(shown.name)}/{shown.version}</b>: {escape(accuracy(shown.test))}, {escape(shown.network)}"
    return f"<div>{head}</div>{matrix(shown.confusion_matrix, shown.classes)}"


def matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Draw a confusion matrix as a table, its rows the true classes."""
    if len(classes) > MAX_CLASSES:
        return f"<div>The confusion matrix has {len(classes)} classes: see confusion_frame().</div>"
    header = "".join(f"<th>{escape(name)}</th>" for name in classes)
    rows = (
        f"<tr><th>{escape(name)}</th>{''.join(_cell(count, sum(row)) for count in row)}</tr>"
        for name, row in zip(classes, counts, strict=True)
    )
    return f"<table><tr><th>actual \\ predicted</th>{header}</tr>{''.join(rows)}</table>"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw rows with the same fields as a table."""
    if not rows:
        return "<div>nothing</div>"
    header = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    shown = "".join(f"<tr>{''.join(map(_value, row.values()))}</tr>" for row in rows[:MAX_ROWS])
    more = f"<div>and {len(rows) - MAX_ROWS} more</div>" if len(rows) > MAX_ROWS else ""
    return f"<table><tr>{header}</tr>{shown}</table>{more}"


def _cell(count: int, total: int) -> str:
    share = count / total if total else 0.0
    return f'<td style="background: rgba(31, 119, 180, {share:.2f})">{count or ""}</td>'


def _value(value: Any) -> str:
    return f"<td>{'' if value is None else escape(f'{value:.3f}' if isinstance(value, float) else str(value))}</td>"
