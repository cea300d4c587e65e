"""``tuneserve doctor``: what is wrong with this installation. worker.doctor looks; this shows what it says."""

import json
import subprocess
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from tuneserve.cli.processes import require
from tuneserve.cli.tables import print_table

app = typer.Typer()
console = Console()
COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="One object a line")] = False) -> None:
    """Look at settings, Python, torch, GPU, disk, database, data sets and weights. Exit code 1 if something is wrong.

    Example: tuneserve doctor
    """
    require("worker.doctor")
    looked = subprocess.run([sys.executable, "-m", "worker.doctor"], stdout=subprocess.PIPE, text=True, check=False)
    if as_json:
        print(looked.stdout, end="")
        raise typer.Exit(looked.returncode)
    findings = map(json.loads, looked.stdout.splitlines())
    rows = ((found["check"], Text(found["state"], COLOURS[found["state"]]), found["detail"]) for found in findings)
    print_table(console, ("check", "state", "found"), rows)
    raise typer.Exit(looked.returncode)
