"""Format numbers for people.

A number and its unit stay on one line; an unknown value is a dash.
"""

from collections.abc import Mapping
from typing import Any

GAP, UNKNOWN = "\N{NO-BREAK SPACE}", "\N{EN DASH}"


def percent(share: float | None, digits: int = 2) -> str:
    return UNKNOWN if share is None else f"{100 * share:.{digits}f}{GAP}%"


def accuracy(test: Mapping[str, Any]) -> str:
    """Format an accuracy with its count and its 95 % interval."""
    correct, images = test["correct"], test["images"]
    interval = f"{100 * test['low']:.1f} to {percent(test['high'], 1)}"
    return f"{percent(correct / images)}: {correct:,} of {images:,} right (95{GAP}% interval {interval})"


def number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def milliseconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.{2 if value < 10 else 0}f}{GAP}ms"


def duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.{1 if seconds < 10 else 0}f}{GAP}s"
    if whole < 3600:
        return f"{whole // 60}{GAP}min {whole % 60}{GAP}s"
    return f"{whole // 3600}{GAP}h {whole % 3600 // 60}{GAP}min"


def count(things: int, noun: str) -> str:
    return f"{things:,} {noun}{'' if things == 1 else 's'}"
