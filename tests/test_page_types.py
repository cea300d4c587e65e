""".ci/js/types.d.ts: the page's types agree with the API's description."""

import re
from typing import Any

import pytest

from core.settings import Settings
from service.app import create_app
from tests import ROOT

TYPES = ROOT / ".ci" / "js" / "types.d.ts"
PART = TYPES.read_text().split("\n// -- ")[1]  # whose interfaces bear the names of the API's schemas
TEXTS: dict[str, str] = dict(re.findall(r"^type (\w+) = (.+);$", PART, re.MULTILINE))
Field = tuple[str, bool]  # its kind, and whether it may be absent or null


def interfaces() -> dict[str, dict[str, Field]]:
    bodies = re.findall(r"^interface (\w+) \{\n(.*?)^\}", PART, re.MULTILINE | re.DOTALL)
    return {name: dict(map(field, body.splitlines())) for name, body in bodies}


def field(line: str) -> tuple[str, Field]:
    found = re.fullmatch(r"  (\w+)(\??): (.+?)( \| null)?;", line)
    assert found, line
    name, optional, kind, null = found.groups()
    return name, (kind_of(TEXTS.get(kind) or kind), bool(optional or null))


def kind_of(written: str) -> str:
    """Return the JSON type of a TypeScript type.

    For a union of texts, these texts.
    """
    if written.endswith("[]"):
        return "array"
    if written.startswith('"'):
        return " ".join(sorted(re.findall(r'"(\w+)"', written)))
    return written if written in ("string", "number", "boolean") else "object"


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("data")))
    found: dict[str, Any] = app.openapi()["components"]["schemas"]
    return found


def described(schema: dict[str, Any], schemas: dict[str, Any]) -> Field:
    """Return a field's type as the API describes it."""
    kinds = schema.get("anyOf", [schema])
    (known,) = [kind for kind in kinds if kind.get("type") != "null"]
    shape = schemas[known["$ref"].rsplit("/", 1)[1]] if "$ref" in known else known
    texts = " ".join(sorted(shape.get("enum", ())))
    return texts or {"integer": "number"}.get(shape["type"], shape["type"]), len(kinds) > 1


def test_a_field_that_the_api_does_not_have_so_is_found(schemas: dict[str, Any]) -> None:
    properties = schemas["JobView"]["properties"]
    assert described(properties["name"], schemas) == ("string", True) == field("  name: string | null;")[1]
    assert described(properties["status"], schemas) == field("  status: JobStatus;")[1]
    assert described(properties["phases"], schemas) != field("  phases: PhaseView;")[1]
    assert described(properties["phase"], schemas) != field("  phase: Phase;")[1]


@pytest.mark.parametrize("name", interfaces())
def test_the_page_reads_fields_that_the_api_has(name: str, schemas: dict[str, Any]) -> None:
    read = interfaces()[name]
    properties = schemas[name]["properties"]
    assert read == {field: described(properties[field], schemas) for field in read if field in properties}
