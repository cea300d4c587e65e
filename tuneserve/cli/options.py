"""Command-line options shared by several commands."""

from typing import Annotated

import typer

from tuneserve.cli import completion

# the groups of --help
TRAIN, MODELS, RUN = "Train", "Models and predictions", "Run the service"

Url = Annotated[str | None, typer.Option(help="URL of the service [TUNESERVE_URL, default http://127.0.0.1:8000]")]
Json = Annotated[bool, typer.Option("--json", help="Print the service's response as JSON")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Maximum rows, newest first")]
JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="A job's id, the start of it, or @last", autocompletion=completion.job_ids)
]
