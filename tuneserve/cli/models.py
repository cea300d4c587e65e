"""``tuneserve models``: list, show, download and use models."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tuneserve.cli import completion
from tuneserve.cli.options import Json, Limit, Url
from tuneserve.cli.tables import age, cut, print_table
from tuneserve.client import Client, Model
from tuneserve.progress import accuracy
from tuneserve.terminal import Console

app = typer.Typer(invoke_without_command=True, help="List, show, download and use models.")
console = Console()
Reference = Annotated[
    str,
    typer.Argument(help="Model: pets, pets/3, pets@best or an id", autocompletion=completion.model_references),
]


@app.callback()
def list_models(
    context: typer.Context,
    name: Annotated[str | None, typer.Option("--name", help="Only versions of this name")] = None,
    limit: Limit = 20,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List models, newest first; or show, download or use one.

    Example: tuneserve models --limit 100
    """
    if context.invoked_subcommand:
        return
    with Client(url) as client:
        found = cut(client.models(limit + 1, name), limit)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    header = ("model", "dataset", "network", "test accuracy", "aliases", "age")
    print_table(console, header, (_row(model) for model in found))


@app.command()
def show(reference: Reference, url: Url = None, as_json: Json = False) -> None:
    """Show a model: its test result, its classes and where to see it.

    Example: tuneserve models show pets
    """
    with Client(url) as client:
        found = client.model(reference)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = {
        "model": f"{found.name}/{found.version}",
        "id": found.id,
        "test accuracy": accuracy(found.test),
        "classes": ", ".join(found.classes),
        "network": found.network,
        "dataset": found.dataset,
        "aliases": ", ".join(found.aliases),
        "age": age(found.created_at),
        "page": f"{client.url}/#/models/{found.id}",
    }
    for field, value in rows.items():
        console.print(f"{field}: {value}", soft_wrap=True, highlight=False, markup=False)


@app.command()
def download(
    reference: Reference,
    path: Annotated[Path, typer.Argument(help="File to write: *.onnx, *.safetensors or *.pt2")],
    url: Url = None,
) -> None:
    """Write a model's file, in the format of the suffix.

    Example: tuneserve models download pets pets.onnx
    """
    with Client(url) as client:
        try:
            client.model(reference).download(path)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    console.print(f"{path}: {path.stat().st_size} bytes", soft_wrap=True, highlight=False, markup=False)


@app.command()
def use(reference: Reference, url: Url = None) -> None:
    """Print requests to a model with curl, from Python and from JavaScript.

    Example: tuneserve models use pets
    """
    with Client(url) as client:
        found = client.model(reference)
    address = f"{client.url}/predict/{found.name}"
    print(f"""\
# curl; with a key, add: -H "Authorization: Bearer $TUNESERVE_API_KEY"
curl -F file=@photo.jpg {address}

# Python
import tuneserve
print(tuneserve.Client("{client.url}").model("{found.name}").predict("photo.jpg")[0].label)

// JavaScript
const form = new FormData();
form.append("file", photo);
const answer = await (await fetch("{address}", {{ method: "POST", body: form }})).json();
console.log(answer.predictions[0].label);""")


def _row(model: Model) -> tuple[str, ...]:
    named, aliases = f"{model.name}/{model.version}", ", ".join(model.aliases)
    return named, model.dataset, model.network, accuracy(model.test), aliases, age(model.created_at)
