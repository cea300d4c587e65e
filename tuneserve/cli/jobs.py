"""Commands for an existing job, and for choosing the serving model."""

import codecs
import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from tuneserve.cli import completion
from tuneserve.cli.options import MODELS, TRAIN, JobId, Url
from tuneserve.cli.references import find_job
from tuneserve.client import ENDED, POLL_S, Client, Job
from tuneserve.terminal import Console, printable

app = typer.Typer()
console = Console()


@app.command(rich_help_panel=TRAIN)
def cancel(
    job_id: JobId,
    keep: Annotated[bool, typer.Option("--keep", help="Publish the best epoch as a model first")] = False,
    url: Url = None,
) -> None:
    """Stop a job.

    Example: tuneserve cancel JOB --keep
    """
    _control(job_id, url, lambda job: job.cancel(keep))


@app.command(rich_help_panel=TRAIN)
def pause(job_id: JobId, url: Url = None) -> None:
    """Pause a job; a running one writes a checkpoint first.

    Example: tuneserve pause JOB
    """
    _control(job_id, url, Job.pause)


@app.command(rich_help_panel=TRAIN)
def resume(job_id: JobId, url: Url = None) -> None:
    """Resume a paused job from its last checkpoint.

    Example: tuneserve resume JOB
    """
    _control(job_id, url, Job.resume)


@app.command(rich_help_panel=TRAIN)
def retry(job_id: JobId, url: Url = None) -> None:
    """Retry a failed or cancelled job, as a new job that continues from its last checkpoint.

    Example: tuneserve retry JOB
    """
    with Client(url) as client:
        console.print(find_job(client, job_id).retry().id, highlight=False)


@app.command(rich_help_panel=TRAIN)
def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the job ends")] = False,
    url: Url = None,
) -> None:
    """Print a job's log.

    Example: tuneserve logs -f @last
    """
    with Client(url) as client:
        if not follow:
            sys.stdout.write(printable(find_job(client, job_id).logs()))
            return
        job_id = find_job(client, job_id).id
        attempt, shown, decoder = 0, 0, codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            job = client.job(job_id)  # fetched before the log: nothing is written after the end
            if job.attempt != attempt:
                attempt, shown = job.attempt, 0
            more = job.logs_after(attempt, shown) if attempt else b""
            shown += len(more)
            sys.stdout.write(printable(decoder.decode(more)))
            sys.stdout.flush()
            if not more and job.status in ENDED:
                return
            if not more:
                time.sleep(POLL_S)


@app.command(rich_help_panel=MODELS)
def promote(
    model: Annotated[
        str, typer.Argument(help="Model: pets/3, pets@best or an id", autocompletion=completion.model_references)
    ],
    alias: Annotated[str, typer.Option(help="Alias to point at the model")] = "serving",
    url: Url = None,
) -> None:
    """Make a version the one that answers for its name; promoting an older one rolls back.

    Example: tuneserve promote digits@best
    """
    with Client(url) as client:
        moved = client.model(model).promote(alias)
    console.print(f"{moved.model}@{moved.name} is {moved.model}/{moved.version}, {moved.model_id}")


@app.command("default", rich_help_panel=MODELS)
def default_name(
    name: Annotated[str | None, typer.Argument(help="Name to pin; without it the command only shows the name")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Unpin: follow the latest publication again")] = False,
    url: Url = None,
) -> None:
    """Show or choose the name that answers where none is given.

    Example: tuneserve default
    """
    if name and follow:
        raise typer.BadParameter("give a name to pin, or --follow")
    with Client(url) as client:
        if follow:
            client.unpin_default()
        found = client.pin_default(name) if name else client.default_name()
    console.print(f"{found.name}, {'pinned' if found.pinned else 'published to last'}", highlight=False)


def _control(job_id: str, url: str | None, act: Callable[[Job], Job]) -> None:
    with Client(url) as client:
        job = act(find_job(client, job_id))
    console.print("pausing" if job.pausing else job.status)
