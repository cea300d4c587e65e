"""``tuneserve doctor``: show the findings of worker.doctor about this installation."""

import json
import os
import subprocess
import sys
from typing import Annotated

import typer
from rich.text import Text

from tuneserve.cli.options import RUN
from tuneserve.cli.processes import require
from tuneserve.cli.tables import print_table
from tuneserve.client import Client, ServiceError
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
    findings = [*map(json.loads, report.stdout.splitlines()), *service_findings()]
    exit_code = 1 if any(found["state"] == "wrong" for found in findings) else report.returncode
    if as_json:
        print("".join(f"{json.dumps(found)}\n" for found in findings), end="")
        raise typer.Exit(exit_code)
    rows = ((found["check"], Text(found["state"], COLOURS[found["state"]]), found["detail"]) for found in findings)
    print_table(console, ("check", "state", "found"), rows)
    raise typer.Exit(exit_code)


def service_findings() -> list[dict[str, str]]:
    """Check the service at TUNESERVE_URL, if that is set."""
    if not os.environ.get("TUNESERVE_URL"):
        return []
    try:
        with Client() as client:
            state, detail = "ok", f"{client.url}: {client.ready()['status']}"
    except (ServiceError, ValueError) as error:
        state, detail = "wrong", str(error)
    return [{"check": "service", "state": state, "detail": detail}]
