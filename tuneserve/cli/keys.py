"""``tuneserve keys``: create, list and revoke API keys."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from tuneserve.cli.options import Json, Url
from tuneserve.cli.tables import print_table
from tuneserve.client import Client
from tuneserve.terminal import Console
from tuneserve.types import Key

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")
console = Console()


class Scope(StrEnum):
    """A permission of an API key; each includes those above it."""

    PREDICT = "predict"
    READ = "read"
    TRAIN = "train"
    ADMIN = "admin"


Scopes = Annotated[
    list[Scope], typer.Option("--scope", help="Permission of the key; each includes those before it; repeatable")
]

Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="Name of models that a key for predictions is limited to; repeatable"),
]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Owner or purpose of the key")],
    scopes: Scopes,
    models: Models = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Create a key and print it; it cannot be shown again.

    The first key needs the scope admin; from then on, the service requires a key.

    Example: tuneserve keys add me --scope admin
    """
    with Client(url) as client:
        made = client.add_key(name, [scope.value for scope in scopes], models)
    print(json.dumps(made, indent=2) if as_json else made["key"])


@app.command("list")
def list_keys(url: Url = None, as_json: Json = False) -> None:
    """List all keys, newest first, without the keys themselves.

    Example: tuneserve keys list
    """
    with Client(url) as client:
        found = client.keys()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print_table(console, ("id", "name", "scopes", "made", "revoked"), (_row(key) for key in found))


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Id of a key, from `keys list`")], url: Url = None) -> None:
    """Revoke a key; it stops working within two seconds.

    Example: tuneserve keys revoke KEY_ID
    """
    with Client(url) as client:
        client.revoke_key(key_id)
    console.print("revoked")


def _row(key: Key) -> tuple[str, ...]:
    made = key["created_at"] or "from TUNESERVE_API_KEYS"
    return key["id"], key["name"], ", ".join(key["scopes"]), made, key["revoked_at"] or ""
