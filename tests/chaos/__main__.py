"""``python -m tests.chaos --blows 100 --seed 1``: run the long storm.

It prints the storm's row for a table.
"""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.books import Books, balance
from tests.chaos.storm import Storm
from tests.integration.conftest import Programs

log = logging.getLogger("chaos")


def main() -> int:
    asked = _arguments()
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    log.setLevel(logging.INFO)
    started = time.monotonic()
    data_dir = asked.data_dir or Path(tempfile.mkdtemp(prefix="chaos-"))
    storm = Storm(Programs(data_dir), asked.seed, asked.waiting, asked.workers)
    try:
        storm.blow(asked.blows)
        books = balance(storm)
    finally:
        storm.programs.stop()
    for name, found in books.wrong().items():
        log.info("%s: %s", name, found)
    log.info("logs and database: %s", data_dir)
    log.info("%s", row(storm, books, time.monotonic() - started))
    return 1 if books.wrong() else 0


def row(storm: Storm, books: Books, took_s: float) -> str:
    """Format a storm as a row of Markdown, below its head."""
    blows = ", ".join(f"{count} {name}" for name, count in sorted(storm.blows.items()))
    cells = {
        "seed": storm.seed,
        "workers": storm.workers,
        "blows": f"{storm.blows.total()}: {blows}",
        "asked": ", ".join(f"{count} {verb}" for verb, count in sorted(storm.asked.items())),
        "jobs": len(storm.posted),
        "lost": len(books.lost),
        "stuck": len(books.stuck),
        "doubled": len(books.doubled) + len(books.uncalled),
        "gaps in logs": len(books.gaps) + len(books.unheard),
        "other": sum(map(len, books.wrong().values())),
        "answers": storm.clients.answers,
        "took": f"{took_s:.0f} s",
    }
    head, line = " | ".join(cells), " | ".join("---" for _ in cells)
    return f"| {head} |\n| {line} |\n| {' | '.join(map(str, cells.values()))} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--blows", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--waiting", type=int, default=3, help="jobs kept queued or running")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--data-dir", type=Path, help="folder to keep the data in; default: a temporary folder")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
