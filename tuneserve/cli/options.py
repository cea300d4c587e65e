"""Options that several files of commands take."""

from typing import Annotated

import typer

Url = Annotated[str | None, typer.Option(help="The service [TUNESERVE_URL, default http://127.0.0.1:8000]")]
Json = Annotated[bool, typer.Option("--json", help="Print the service's own answer")]
