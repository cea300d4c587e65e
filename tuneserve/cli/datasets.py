"""``tuneserve datasets``: add, list, show, check and change data sets."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from tuneserve.cli import completion
from tuneserve.cli.options import Json, Limit, Url
from tuneserve.cli.tables import cut, print_table
from tuneserve.client import Client, ServiceError
from tuneserve.terminal import Console
from tuneserve.types import Checkup, DatasetCard, DatasetSummary, SeenImage, Upload

app = typer.Typer(no_args_is_help=True, help="Add, list, show, check and change data sets.")
console = Console()
errors = Console(stderr=True)
NO_NAME = "dry-run"  # for checks: the service requires a name
Source = Annotated[Path, typer.Argument(exists=True, help="Zip, tar or folder of the data set")]
Name = Annotated[str, typer.Argument(help="Name of an uploaded data set", autocompletion=completion.uploaded_names)]
Images = Annotated[list[int], typer.Argument(help="Numbers of images, from `datasets images`")]
ClassOption = Annotated[str, typer.Option("--class", help="Class of the images")]
GroupPattern = Annotated[
    str, typer.Option(help="How file names tell groups, such as '{group}_frame_*'; images of one stay in one part")
]
PartOption = Annotated[str | None, typer.Option("--part", help="Part of the images: train, val or test")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the data set in recipes")],
    source: Source,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make the next version of a data set of this name")
    ] = False,
    group_pattern: GroupPattern = "",
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Upload a data set: a folder of images per class, images with a CSV, or MNIST's four files.

    Problems are listed file by file. An interrupted upload of a large file resumes.

    Example: tuneserve datasets add pets photos/
    """
    _show(_import(source, url, lambda client, file: _send(client, name, file, group_pattern, replace)), as_json)


@app.command("list")
def list_datasets(url: Url = None, as_json: Json = False) -> None:
    """List the data sets that a recipe can name.

    Example: tuneserve datasets list
    """
    with Client(url) as client:
        found = client.datasets()
    _list(found, found, as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a data set, from `datasets list`")],
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show the classes of a data set and, if it was uploaded, the files left out.

    Example: tuneserve datasets show pets
    """
    with Client(url) as client:
        found = client.dataset(name)
    if isinstance(found, DatasetCard):
        _show(found, as_json)
    else:
        _list([found], found, as_json)


@app.command("versions")
def list_versions(name: Name, limit: Limit = 20, url: Url = None, as_json: Json = False) -> None:
    """List the versions of an uploaded data set, newest first.

    Example: tuneserve datasets versions pets
    """
    with Client(url) as client:
        found = cut(client.dataset_versions(name, limit + 1), limit)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = ((f"{name}/{one['version']}", str(one["classes"]), str(one["images"]), one["created_at"]) for one in found)
    print_table(console, ("version", "classes", "images", "created"), rows)


@app.command()
def delete(
    reference: Annotated[str, typer.Argument(help="A data set, or a version of it like pets/2")],
    force: Annotated[bool, typer.Option("--force", help="Delete it though models were trained on it")] = False,
    url: Url = None,
) -> None:
    """Delete an uploaded data set with all its versions, or one version.

    Example: tuneserve datasets delete pets/1
    """
    with Client(url) as client:
        client.delete_dataset(reference, force)
    console.print("deleted")


@app.command("images")
def list_images(
    reference: Annotated[str, typer.Argument(help="A data set, or a version of it like pets/2")],
    label: Annotated[str | None, typer.Option("--class", help="Only images of this class")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum rows")] = 20,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List the images of an uploaded data set, with the numbers that `move` and `remove` take.

    Example: tuneserve datasets images pets --class cat
    """
    with Client(url) as client:
        found = cut(client.dataset_images(reference, label, limit + 1), limit)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print_table(
        console,
        ("image", "class", "part", "file"),
        ((str(one["id"]), one["class"], one["part"], one["file"]) for one in found),
    )


@app.command("add-images")
def add_images(
    name: Name,
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Image files")],
    label: ClassOption,
    part: PartOption = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Add images of one class: the next version of the data set.

    Example: tuneserve datasets add-images pets new1.jpg new2.jpg --class cat
    """
    with Client(url) as client:
        _show(client.add_images(name, files, label, part), as_json)


@app.command()
def move(
    name: Name, images: Images, label: ClassOption, part: PartOption = None, url: Url = None, as_json: Json = False
) -> None:
    """Move images to another class: the next version of the data set.

    Example: tuneserve datasets move pets 17 18 --class dog
    """
    with Client(url) as client:
        _show(client.move_images(name, images, label, part), as_json)


@app.command()
def remove(name: Name, images: Images, url: Url = None, as_json: Json = False) -> None:
    """Remove images: the next version of the data set. Older versions keep them.

    Example: tuneserve datasets remove pets 17 18
    """
    with Client(url) as client:
        _show(client.remove_images(name, images), as_json)


@app.command()
def check(source: Source, group_pattern: GroupPattern = "", url: Url = None, as_json: Json = False) -> None:
    """Check a data set without adding it; exit code 1 if it cannot be trained on.

    Example: tuneserve datasets check photos/
    """
    found = _import(source, url, lambda client, file: _send(client, NO_NAME, file, group_pattern, dry_run=True))
    _show(found, as_json)


@app.command()
def checkup(
    name: Name,
    again: Annotated[bool, typer.Option("--again", help="Check it again first")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show what a worker found in an uploaded data set: same pictures, wrong classes, odd images.

    Numbers of images are those that `move` and `remove` take. Exit code 1 if the check-up has failed.

    Example: tuneserve datasets checkup pets
    """
    with Client(url) as client:
        found = client.request_checkup(name) if again else client.checkup(name)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print_table(console, ("finding", "image", "class", "part", "file", "about"), _finding_rows(found))
        summary = f"{found['dataset']} version {found['version']}: {found['error'] or found['state']}"
        console.print(summary, markup=False, highlight=False, soft_wrap=True)
    if found["state"] == "failed":
        raise typer.Exit(1)


@app.command()
def uploads(limit: Limit = 20, url: Url = None, as_json: Json = False) -> None:
    """List uploads that have not become a data set, newest first; an admin sees those of all keys.

    Example: tuneserve datasets uploads
    """
    with Client(url) as client:
        found = cut(client.uploads(limit + 1), limit)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    header = ("id", "file", "key", "received", "bytes", "expires")
    print_table(console, header, (_upload_row(upload) for upload in found))


@app.command("end-upload")
def end_upload(
    upload_id: Annotated[str, typer.Argument(help="As `datasets uploads` shows it")], url: Url = None
) -> None:
    """Delete an upload with the bytes received so far.

    Example: tuneserve datasets end-upload UPLOAD_ID
    """
    with Client(url) as client:
        client.end_upload(upload_id)
    console.print("deleted")


def _import(source: Path, url: str | None, send: Callable[[Client, Path], DatasetCard]) -> DatasetCard:
    """Send a data set and return its card.

    If the service rejects it, every problem is printed.
    """
    if not (source.is_file() or source.is_dir()):
        raise typer.BadParameter(f"this is neither a file nor a folder: {source}")
    with Client(url) as client:
        try:
            return send(client, source)
        except ServiceError as error:
            _print_problems({"file": entry["pointer"], "reason": entry["detail"], **entry} for entry in error.errors)
            raise


def _list(entries: Iterable[DatasetSummary], answer: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    header = ("name", "kind", "version", "classes", "images")
    print_table(console, header, (_row(entry) for entry in entries))


def _row(entry: DatasetSummary) -> tuple[str, ...]:
    numbers = ("" if entry[field] is None else str(entry[field]) for field in ("version", "classes", "images"))
    return entry["name"], entry["kind"].replace("_", " "), *numbers


def _upload_row(upload: Upload) -> tuple[str, ...]:
    sizes = str(upload["offset"]), str(upload["length"])
    return upload["id"], upload["name"] or "", upload["owner"] or "", *sizes, upload["expires_at"]


def _send(
    client: Client, name: str, source: Path, group_pattern: str, replace: bool = True, dry_run: bool = False
) -> DatasetCard:
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("sending", total=None)

        def report(sent: int, of: int) -> None:
            bar.update(task, completed=sent, total=of)
            if sent == of:
                bar.update(task, description="checking every image", total=None)

        return client.upload_dataset(
            name,
            source,
            replace=replace,
            dry_run=dry_run,
            group_pattern=group_pattern,
            report=report,
            warn=_warn_left_out,
        )


def _warn_left_out(path: Path, reason: str) -> None:
    _warn(f"{path} is left out: {reason}")


def _show(card: DatasetCard, as_json: bool) -> None:
    if as_json:
        print(json.dumps(card, indent=2))
        return
    counts = card["classes"]
    parts = tuple(part for part in ("train", "test", "val") if any(part in of for of in counts.values()))
    rows = ((label, *(str(of[part]) for part in parts)) for label, of in counts.items())
    print_table(console, ("class", *parts), rows)
    _print_problems(card["problems"])
    named = "This can be trained on" if card["name"] == NO_NAME else f"{card['name']} version {card['version']}"
    summary = f"{named}: {card['images']} images, {_counted(card['problem_count'])}"
    console.print(summary, markup=False, highlight=False, soft_wrap=True)


def _finding_rows(checkup: Checkup) -> Iterator[tuple[str, ...]]:
    if (found := checkup["findings"]) is None:
        return
    for pair in found["near_duplicates"]:
        kind = "leak" if pair["leak"] else "near-duplicate"
        yield kind, *_seen(pair["image"]), f"like {' '.join(_seen(pair['like']))}"
    for wrong in found["wrong_labels"]:
        yield "wrong label?", *_seen(wrong["image"]), f"rather {wrong['suggested']} ({wrong['score']:.2f})"
    for odd in found["unusual_images"]:
        yield "unusual", *_seen(odd["image"]), f"distance {odd['score']:.2f}"
    for rare in found["rare_classes"]:
        yield "rare class", "", rare["class"], "train", "", f"{rare['images']} images, the largest {rare['largest']}"


def _seen(image: SeenImage) -> tuple[str, str, str, str]:
    return "" if image["id"] is None else str(image["id"]), image["class"], image["part"], image["file"]


def _counted(problems: int) -> str:
    return f"{problems} problem" if problems == 1 else f"{problems} problems"


def _print_problems(problems: Iterable[Mapping[str, Any]]) -> None:
    for problem in problems:
        _warn(f"{problem['file']}: {problem['reason']}", problem.get("severity", "error"))


def _warn(line: str, severity: str = "warning") -> None:
    errors.print(f"{severity}: {line}", markup=False, highlight=False, soft_wrap=True)
