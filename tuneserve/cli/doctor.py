"""``tuneserve doctor``: show the findings of worker.doctor about this installation."""

import json
import subprocess
import sys
from typing import Annotated

import typer
from rich.text import Text

from tuneserve.cli.options import RUN
from tuneserve.cli.processes import require
from tuneserve.cli.tables import print_table
from tuneserve.terminal import Console

app = typer.Typer()
console = Console()
COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}


@app.command(rich_help_panel=RUN)
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line")] = False) -> None:
    """Check settings, Python, torch, GPU, disk, database, data sets and weights. Exit code 1 if something is wrong.

    Example: tuneserve doctor
    """
    require("worker.doctor")
    report = subprocess.run([sys.executable, "-m", "worker.doctor"], stdout=subprocess.PIPE, text=True, check=False)
    if as_json:
        print(report.stdout, end="")
        raise typer.Exit(report.returncode)
    findings = map(json.loads, report.stdout.splitlines())
    rows = ((found["check"], Text(found["state"], COLOURS[found["state"]]), found["detail"]) for found in findings)
    print_table(console, ("check", "state", "found"), rows)
    raise typer.Exit(report.returncode)
