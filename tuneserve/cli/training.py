"""``tuneserve train`` and ``follow``."""

import difflib
import json
from contextlib import suppress
from typing import Annotated, Any

import typer

from tuneserve.cli import completion
from tuneserve.cli.options import TRAIN, JobId, Url
from tuneserve.cli.references import find_job
from tuneserve.client import Client, Job, JobFailed, ServiceError
from tuneserve.progress import line, result, show
from tuneserve.terminal import Console, printable
from tuneserve.types import Job as JobFields

app = typer.Typer()
console = Console()
errors = Console(stderr=True)
INTERRUPTED = 130  # the exit code after Ctrl-C


# typer takes options from a command's own parameters alone: it cannot read a group of them from a dataclass
@app.command(rich_help_panel=TRAIN)
def train(
    data: Annotated[str | None, typer.Argument(help="Folder or archive of photos, or a data set's name")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Name of a data set, from `datasets list`", autocompletion=completion.dataset_names),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Defaults for an aim: quick or accurate")] = None,
    model: Annotated[str | None, typer.Option(help="Name to publish the model under; default: the data set's")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the job")] = None,
    network: Annotated[str | None, typer.Option(help="Name of a classification network")] = None,
    weights: Annotated[str | None, typer.Option(help="Initial weights: imagenet, random, or a model's id")] = None,
    fields: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Set any field of the recipe; repeatable")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Recipe fields as a JSON object")] = "{}",
    follow: Annotated[bool, typer.Option("--follow/--detach", help="Show progress, or print only the job's id")] = True,
    wait: Annotated[bool, typer.Option("--wait", help="Print only the result when the job has ended")] = False,
    url: Url = None,
) -> None:
    """Start a training job and follow it. Exit code 0 if it succeeded, 1 if it failed or was cancelled.

    Example: tuneserve train photos/ --preset quick --model insects
    """
    if wait and not follow:
        raise typer.BadParameter("--wait and --detach exclude each other")
    named = {"dataset": dataset, "preset": preset, "model": model, "name": name, "network": network, "weights": weights}
    body = _parse(recipe) | dict(map(_field, fields or [])) | {key: value for key, value in named.items() if value}
    with Client(url) as client:
        job = _start(client, data, body)
        for warning in job.warnings or []:
            typer.echo(f"Warning: {printable(warning['detail'])}", err=True)
        if not wait:
            console.print(job.id, highlight=False)
        if follow:
            raise typer.Exit(_follow(client, job, url, wait))


@app.command("follow", rich_help_panel=TRAIN)
def follow_job(job_id: JobId, url: Url = None) -> None:
    """Show a job's progress until it ends. Exit code 0 if it succeeded, 1 if it failed or was cancelled.

    Example: tuneserve follow @last
    """
    with Client(url) as client:
        raise typer.Exit(_follow(client, find_job(client, job_id), url))


def print_state(job: JobFields) -> None:
    state = line(job) if job.status == "running" else result(job)
    console.print(f"{job.id}  {state}", soft_wrap=True, markup=False)


def _start(client: Client, data: str | None, recipe: dict[str, Any]) -> Job:
    try:
        return client.train(data, **recipe)
    except ServiceError as error:
        unknown = [field for one in error.errors if (field := one.get("pointer", "").removeprefix("/")) in recipe]
        alike = _alike(client, unknown)
        if alike:
            raise ServiceError(f"{error} Did you mean {' or '.join(alike)}?") from error
        raise


def _alike(client: Client, names: list[str]) -> list[str]:
    """Return the recipe's fields that these misspelt names are alike to."""
    fields = client.recipe_fields() if names else []
    return [alike for name in names if name not in fields for alike in difflib.get_close_matches(name, fields, 1)]


def _follow(client: Client, job: Job, url: str | None, wait: bool = False) -> int:
    if not wait:
        console.print(f"{client.url}/#/jobs/{job.id}", soft_wrap=True, highlight=False)
    try:
        if wait:
            with suppress(JobFailed):  # what became of it is printed
                job.wait()
        else:
            show(job.follow(), console)
    except KeyboardInterrupt:
        _say_what_goes_on(job.id, url)
        return INTERRUPTED
    if wait:
        print_state(job)
        return 0 if job.status == "succeeded" else 1
    console.print(result(job), soft_wrap=True, markup=False)
    if job.model_id:
        console.print(f"{client.url}/#/models/{job.model_id}", soft_wrap=True, highlight=False)
    return 0 if job.status == "succeeded" else 1


def _say_what_goes_on(job_id: str, url: str | None) -> None:
    there = f" --url {url}" if url else ""
    follow, stop = f"tuneserve follow {job_id}{there}", f"tuneserve cancel {job_id}{there}"
    said = f"Still training. Follow: {follow}; stop: {stop}"
    errors.print(said, soft_wrap=True, highlight=False, markup=False)


def _parse(recipe: str) -> dict[str, Any]:
    try:
        fields = json.loads(recipe)
    except ValueError as error:
        raise typer.BadParameter(f"--recipe is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise typer.BadParameter("--recipe must be a JSON object")
    return fields


def _field(given: str) -> tuple[str, Any]:
    """Read FIELD=VALUE. The value is JSON if it can be, else text."""
    name, equals, value = given.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"--set {given}: write FIELD=VALUE, for example epochs=3")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
