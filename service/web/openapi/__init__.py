"""Complete the OpenAPI document that FastAPI writes.

Beside this file lie real answers, named after their schemas: a training of ten digits, and what came of it.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI

SCHEMAS = "#/components/schemas/{model}"  # where a document has them
EXAMPLES = Path(__file__).parent
BINARY = {"schema": {"type": "string", "format": "binary"}}  # of a body that is one file


def form_of_files(description: str, *texts: str) -> dict[str, Any]:
    """Return the schema of a multipart form with files.

    The field ``file`` comes once or often; the form may have these texts too.
    """
    fields: dict[str, Any] = {name: {"type": "string", "description": f"As the parameter {name}."} for name in texts}
    fields["file"] = {"type": "array", "items": BINARY["schema"], "description": description}
    return {"schema": {"type": "object", "required": ["file"], "properties": fields}}


def complete(app: FastAPI, schemas: Mapping[str, Any]) -> None:
    """Add schemas and examples to an application's OpenAPI document.

    No route names these schemas as its model, and FastAPI would take out the examples' nulls.
    """
    usual = app.openapi

    @functools.cache
    def completed() -> dict[str, Any]:
        document = usual()
        named = document["components"]["schemas"]
        named |= schemas
        for file in EXAMPLES.glob("*.json"):
            named[file.stem].setdefault("examples", []).append(json.loads(file.read_text()))
        return document

    app.openapi = completed  # type: ignore[method-assign]  # as FastAPI's own documentation extends it
