"""``tuneserve``: the command line."""

import csv
import io
import json
import os
import sys
import webbrowser
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress
from typer.core import TyperGroup

from tuneserve.cli import completion, datasets, doctor, keys, training
from tuneserve.cli import demo as demo_run
from tuneserve.cli import jobs as job_commands
from tuneserve.cli import models as model_commands
from tuneserve.cli.batch_predictions import answer_all
from tuneserve.cli.options import MODELS, RUN, TRAIN, JobId, Json, Limit, Url
from tuneserve.cli.processes import ServiceAndWorker, StartFailed, environment, require, url_of
from tuneserve.cli.references import find_job
from tuneserve.cli.tables import age, cut, print_table
from tuneserve.cli.training import print_state
from tuneserve.client import UNREADABLE_IMAGE, Client, Prediction, Predictions, ServiceError
from tuneserve.client.images import Input
from tuneserve.progress import accuracy
from tuneserve.terminal import Console
from tuneserve.types import Job, Neighbour

ABOUT = "tuneserve trains image classifiers on your photos and serves them over HTTP."


class DescriptionFirst(TyperGroup):
    """A group of commands whose help begins with what the program is."""

    def format_help(self, *where: Any) -> None:
        typer.echo(ABOUT)
        super().format_help(*where)


app = typer.Typer(cls=DescriptionFirst, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)
app.add_typer(training.app)
app.add_typer(job_commands.app)
app.add_typer(model_commands.app, name="models", rich_help_panel=MODELS)
app.add_typer(datasets.app, name="datasets", rich_help_panel=TRAIN)
app.add_typer(doctor.app)
app.add_typer(keys.app, name="keys", rich_help_panel=RUN)
console = Console()
STDIN = Path("-")

Host = Annotated[str | None, typer.Option(help="Address to listen on [TUNESERVE_HOST, default 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on [TUNESERVE_PORT, default 8000]")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of database and models [TUNESERVE_DATA_DIR, default tuneserve-data]")
]
Processes = Annotated[
    int | None, typer.Option(min=1, help="Number of service processes [TUNESERVE_PROCESSES, default 1]")
]


def main() -> None:
    """Run the command line.

    Expected errors become one line and exit code 1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be of bytes that no terminal shows
    try:
        app()
    except (ServiceError, StartFailed, OSError) as error:
        Console(stderr=True).print(f"[red]error:[/red] {escape(_message(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)


def _message(error: Exception) -> str:
    """Return an error's message, without the system's error number.

    An error about a file becomes "name: what is wrong".
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tuneserve {version('tuneserve')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit")
    ] = False,
) -> None:
    pass


@app.command(rich_help_panel=TRAIN)
def networks(
    search: Annotated[str | None, typer.Argument(help="Part of a name; timm/ searches timm's too")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List the networks that can be trained.

    Example: tuneserve networks efficientnet
    """
    with Client(url) as client:
        found = client.networks(search)
    if as_json:
        _print_json(found)
        return
    rows = ((one.name, one.family, f"{one.parameters / 1e6:.1f} M", one.weights["status"]) for one in found)
    print_table(console, ("network", "family", "parameters", "imagenet weights"), rows)


@app.command(rich_help_panel=TRAIN)
def jobs(
    status: Annotated[str | None, typer.Option(help="Only jobs with this status, such as running or failed")] = None,
    limit: Limit = 20,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first.

    Example: tuneserve jobs --status failed --limit 100
    """
    with Client(url) as client:
        found = cut(client.jobs(limit + 1, status), limit)
    if as_json:
        _print_json(found)
        return
    header = ("job", "status", "dataset", "network", "test accuracy", "name", "age")
    print_table(console, header, (_job_row(job) for job in found))


@app.command(rich_help_panel=TRAIN)
def job(job_id: JobId, url: Url = None, as_json: Json = False) -> None:
    """Show one job.

    Example: tuneserve job @last
    """
    with Client(url) as client:
        found = find_job(client, job_id)
    if as_json:
        _print_json(found)
        return
    print_state(found)


# typer takes options from a command's own parameters alone: it cannot read a group of them from a dataclass
@app.command(rich_help_panel=MODELS)
def predict(
    images: Annotated[list[Path] | None, typer.Argument(help="Images, folders, patterns; - or none: stdin")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model: pets, pets/3 or pets@best; default: the default", autocompletion=completion.model_references
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Number of classes per image")] = 3,
    neighbours: Annotated[
        int, typer.Option(min=0, max=20, help="Number of nearest training images shown per image")
    ] = 0,
    bulk: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Zip of images, or a manifest (.jsonl)")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File for the results of --bulk; default: stdout")] = None,
    url: Url = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one row per image as CSV")] = False,
) -> None:
    """Classify images. Exit code 1 if one could not be read.

    Example: tuneserve predict new_photos/ "more/*.jpg" --model pets --csv > answers.csv
    """
    if not images and bulk is None and not sys.stdin.isatty():
        images = [STDIN]
    if (bulk is None) == (not images):
        raise typer.BadParameter("give image files, or --bulk with one file that holds them")
    if bulk is not None and neighbours:
        raise typer.BadParameter("--neighbours goes with image files, not with --bulk")
    if bulk is not None:
        with Client(url) as client:
            raise typer.Exit(answer_all(client, _waits_for_nobody(bulk), out, top_k, Console(stderr=True), model))
    answer = _predict(url, images or [], top_k=top_k, model=model, neighbours=neighbours)
    if as_json:
        _print_json(answer.as_json())
    elif as_csv:
        _print_csv(answer)
    else:
        _print_lines(answer)
    raise typer.Exit(1 if any(prediction.error for prediction in answer) else 0)


@app.command("open", rich_help_panel=RUN)
def open_page(url: Url = None) -> None:
    """Print the page's address and open it in the browser.

    Example: tuneserve open
    """
    with Client(url) as client:
        client.ready()
    print(f"{client.url}/")
    webbrowser.open(f"{client.url}/")


@app.command(rich_help_panel=RUN)
def demo(
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; if it is in use, another free one")] = 8000,
    data_dir: Annotated[Path, typer.Option(help="Folder of database, checkpoints and models")] = Path("tuneserve-data"),
    stop: Annotated[bool, typer.Option("--stop", help="Stop the service at the end")] = False,
) -> None:
    """Train on the embedded digits, predict with the new model, and leave the service running.

    Example: tuneserve demo
    """
    raise typer.Exit(demo_run.run(host, port, data_dir, stop, console))


@app.command(rich_help_panel=RUN)
def up(host: Host = None, port: Port = None, data_dir: DataDir = None, processes: Processes = None) -> None:
    """Run service and worker together, until Ctrl-C.

    Example: tuneserve up --port 9000
    """
    with ServiceAndWorker(environment(host, port, data_dir, processes), url_of(host, port)) as running:
        running.wait_until_alive()
        console.print(f"tuneserve is up at {running.url}", highlight=False)
        running.watch()


@app.command(rich_help_panel=RUN)
def serve(host: Host = None, port: Port = None, data_dir: DataDir = None, processes: Processes = None) -> None:
    """Run the service alone.

    Example: tuneserve serve --host 0.0.0.0 --processes 4
    """
    _become("service", environment(host, port, data_dir, processes))


@app.command(rich_help_panel=RUN)
def worker(
    data_dir: DataDir = None,
    exit_when_idle: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="End after so long without work [TUNESERVE_WORKER_IDLE_S]")
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="End after so long; an unfinished job is handed back [TUNESERVE_WORKER_MAX_S]"
        ),
    ] = None,
) -> None:
    """Run one worker. With both options it suits a batch scheduler, which gives it a machine for a time.

    Example: tuneserve worker --exit-when-idle 60 --max-seconds 3500
    """
    limits = {"TUNESERVE_WORKER_IDLE_S": exit_when_idle, "TUNESERVE_WORKER_MAX_S": max_seconds}
    given = {name: str(value) for name, value in limits.items() if value is not None}
    _become("worker", environment(None, None, data_dir) | given)


def _predict(url: str | None, images: Sequence[Path], **options: Any) -> Predictions:
    errors = Console(stderr=True)
    with Client(url) as client, Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("classifying", total=None)

        def report(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        try:
            return client.predict(*map(_read, images), progress=report, **options)
        except ServiceError as error:
            if error.status in UNREADABLE_IMAGE and len(images) == 1:  # several images have an error each
                raise ServiceError(f"{images[0]}: {error}") from error
            raise


def _print_lines(answer: Predictions) -> None:
    for prediction in answer:
        console.print(f"{prediction.file}: {_shown(prediction)}", soft_wrap=True, highlight=False, markup=False)
        for one in prediction.neighbours or []:
            console.print(f"    {_near(one)}", soft_wrap=True, highlight=False, markup=False)


def _print_csv(answer: Predictions) -> None:
    columns = ("file", "label", "probability", "ood_score", "abstained")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow((*columns, "error"))
    for one in answer:
        values = (getattr(one, column) for column in columns)
        writer.writerow((*values, one.error["detail"] if one.error else ""))


def _read(image: Path) -> Path | Input:
    if image != STDIN:
        return _waits_for_nobody(image)
    data = sys.stdin.buffer.read()
    if not data:
        raise typer.BadParameter("stdin is empty: name image files, pipe one to stdin, or give --bulk")
    return Input(str(STDIN), len(data), lambda: data)


def _waits_for_nobody(file: Path) -> Path:
    """Refuse a named pipe, which opens only when another program writes.

    The shell's own pipes have a writer.
    """
    if file.is_fifo() and file.parent != Path("/dev/fd"):
        raise typer.BadParameter(f"this is a pipe, give a file or read from stdin: {file}")
    return file


def _job_row(job: Job) -> tuple[str, ...]:
    test = job.metrics.get("test")
    shown = accuracy(test) if test else ""
    about = job.recipe["dataset"], job.recipe["network"], shown, job.name or "", age(job.created_at)
    return job.id, job.status, *about


def _near(neighbour: Neighbour) -> str:
    thumbnail = neighbour.get("thumbnail")
    return f"{neighbour['label']}  distance {neighbour['distance']:.3f}" + (f"  {thumbnail}" if thumbnail else "")


def _shown(prediction: Prediction) -> str:
    if prediction.error:
        return f"error: {prediction.error['detail']}"
    if prediction.abstained:
        return f"{prediction.label}  abstained: {prediction.reason}"
    others = ", ".join(f"{other['label']} {other['probability']:.3f}" for other in (prediction.top_k or [])[1:])
    return f"{prediction.label} {prediction.probability:.3f}" + (f"  ({others})" if others else "")


def _become(module: str, settings: dict[str, str]) -> None:
    """Replace this process by the program.

    So signals and exit codes are the program's own.
    """
    require(module)
    os.execve(sys.executable, [sys.executable, "-m", module], os.environ | settings)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


if __name__ == "__main__":
    main()
