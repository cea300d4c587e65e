"""``tuneserve doctor``: what is wrong with this installation. worker.doctor looks; this shows what it says."""

import json
import subprocess
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer()
console = Console()
SIGNS = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "wrong": "[red]wrong[/red]"}


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="One object a line")] = False) -> None:
    """Look at Python, torch, GPU, data directory, disk, database and weights. Exit code 1 if something is wrong.

    Example: tuneserve doctor
    """
    looked = subprocess.run([sys.executable, "-m", "worker.doctor"], stdout=subprocess.PIPE, text=True, check=False)
    if as_json:
        print(looked.stdout, end="")
        raise typer.Exit(looked.returncode)
    table = Table("check", "", "found")
    for line in looked.stdout.splitlines():
        finding = json.loads(line)
        table.add_row(finding["check"], SIGNS[finding["state"]], finding["detail"])
    console.print(table)
    raise typer.Exit(looked.returncode)
