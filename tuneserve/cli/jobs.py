"""Commands about one job that is there already, and about which model serves."""

import codecs
import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console

from tuneserve.cli.options import Url
from tuneserve.client import ENDED, POLL_S, Client

app = typer.Typer()
console = Console()


@app.command()
def cancel(
    job_id: str,
    keep: Annotated[bool, typer.Option("--keep", help="Publish the best epoch so far as a model first")] = False,
    url: Url = None,
) -> None:
    """Stop a job.

    Example: tuneserve cancel JOB --keep
    """
    _ask("cancel", job_id, url, {"keep": keep})


@app.command()
def pause(job_id: str, url: Url = None) -> None:
    """Let a job rest; a running one writes a checkpoint first.

    Example: tuneserve pause JOB
    """
    _ask("pause", job_id, url)


@app.command()
def resume(job_id: str, url: Url = None) -> None:
    """Let a paused job go on from its last checkpoint.

    Example: tuneserve resume JOB
    """
    _ask("resume", job_id, url)


@app.command()
def retry(job_id: str, url: Url = None) -> None:
    """Try a failed or cancelled job again, as a new job that goes on from its last checkpoint.

    Example: tuneserve retry JOB
    """
    with Client(url) as client:
        console.print(client.ask_job(job_id, "retry")["id"], highlight=False)


@app.command()
def logs(
    job_id: str,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends")] = False,
    url: Url = None,
) -> None:
    """Print what the trainer wrote.

    Example: tuneserve logs -f JOB
    """
    with Client(url) as client:
        if not follow:
            sys.stdout.write(client.logs(job_id))
            return
        attempt, shown, decoder = 0, 0, codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            job = client.job(job_id)  # asked first: nothing is written after the end
            if job["attempt"] != attempt:
                attempt, shown = job["attempt"], 0
            more = client.log_behind(job_id, attempt, shown) if attempt else b""
            shown += len(more)
            sys.stdout.write(decoder.decode(more))
            sys.stdout.flush()
            if not more and job["status"] in ENDED:
                return
            if not more:
                time.sleep(POLL_S)


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="A model's id, or an alias such as latest or best")],
    alias: Annotated[str, typer.Option(help="The name that shall point at it")] = "serving",
    url: Url = None,
) -> None:
    """Let a model answer /predict; the same call rolls back.

    Example: tuneserve promote best
    """
    with Client(url) as client:
        moved = client.set_alias(alias, model)
    console.print(f"{moved['name']} is {moved['model_id']}, version {moved['version']}", highlight=False)


def _ask(verb: str, job_id: str, url: str | None, params: dict[str, Any] | None = None) -> None:
    with Client(url) as client:
        job = client.ask_job(job_id, verb, params)
    console.print("pausing" if job["pausing"] else job["status"])
