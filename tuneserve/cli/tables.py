"""Lists as a table at a terminal, elsewhere as tab-separated values."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from tuneserve.terminal import Console, printable

Cell = str | Text
T = TypeVar("T")
SEPARATORS = str.maketrans("\t\r\n", "   ")  # separators of cells and rows become spaces


def print_table(console: Console, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print a table, or tab-separated values into a pipe or file.

    A table's first column is never wrapped or cut, so that ids can be copied.
    """
    rows = list(rows)
    if console.file.isatty():
        console.print(_drawn(header, rows), crop=False)
        return
    for row in (header, *rows):
        print("\t".join(printable(str(cell).translate(SEPARATORS)) for cell in row), file=console.file)


def cut(found: Sequence[T], limit: int) -> Sequence[T]:
    """Return the first ``limit`` entries, and say if there are more.

    ``found`` was requested with one entry more than ``limit``.
    """
    if len(found) > limit:
        print(f"There are more than {limit}: --limit {10 * limit} shows more.", file=sys.stderr)
    return found[:limit]


def age(created_at: str) -> str:
    """Format the time since then in its largest unit."""
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _drawn(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    names = [Text(printable(str(row[0]))) for row in rows]
    widest = max((name.cell_len for name in names), default=0)
    first, *others = header
    columns = (Column(first, no_wrap=True, min_width=widest), *(Column(name, overflow="fold") for name in others))
    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in row))
    return table
