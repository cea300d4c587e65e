"""The OpenAPI description explains every field and has valid examples."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from pydantic import BaseModel

from core.recipes.recipe import Recipe
from core.recipes.webhook import Webhook
from core.settings import Settings
from service.api.routes.api_keys import KeyView, MadeKey
from service.api.routes.catalog import NetworkView
from service.api.routes.predict import Predictions
from service.api.routes.uploads import UploadView
from service.api.schemas.batches import BatchView
from service.api.schemas.job_records import CheckpointView, DeliveryView, EventView
from service.api.schemas.jobs import JobView
from service.api.schemas.models import AliasView, ModelView
from service.app import create_app
from service.datasets.catalog import DatasetSummary
from service.datasets.versions import DatasetCard
from service.web.openapi import EXAMPLES
from service.web.problems import ProblemDetails

Document = dict[str, Any]
WHOLE: list[type[BaseModel]] = [
    AliasView,
    BatchView,
    CheckpointView,
    DatasetCard,
    DatasetSummary,
    DeliveryView,
    EventView,
    JobView,
    KeyView,
    MadeKey,
    ModelView,
    NetworkView,
    ProblemDetails,
    Recipe,
    UploadView,
    Webhook,
]
SHOWN: list[type[BaseModel]] = [*WHOLE, Predictions]  # whose fields depend on what was asked for


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    return create_app(Settings(data_dir=tmp_path_factory.mktemp("data"))).openapi()


def schemas(node: Any, path: str = "") -> Iterator[tuple[str, Document]]:
    """Yield every schema with fields, wherever it stands.

    Examples are none.
    """
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict):
            yield path, node
        for name, inner in node.items():
            if name not in ("example", "examples"):
                yield from schemas(inner, f"{path}/{name}")
    elif isinstance(node, list):
        for index, inner in enumerate(node):
            yield from schemas(inner, f"{path}/{index}")


def silent_fields(document: Document) -> list[str]:
    return [
        f"{path}/{name}"
        for path, schema in schemas(document)
        for name, field in schema["properties"].items()
        if not field.get("description")
    ]


def silent_parameters(document: Document) -> list[str]:
    return [
        f"{method} {path} {parameter['name']}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    ]


def examples(document: Document, kind: type[BaseModel]) -> list[Document]:
    found: list[Document] = document["components"]["schemas"][kind.__name__]["examples"]
    return found


def test_every_field_is_described(document: Document) -> None:
    assert len(list(schemas(document))) > 20
    assert silent_fields(document) == []


def test_every_parameter_is_described(document: Document) -> None:
    assert silent_parameters(document) == []


def test_what_lacks_its_words_is_found(document: Document) -> None:
    document = deepcopy(document)
    del document["components"]["schemas"]["JobView"]["properties"]["id"]["description"]
    del document["paths"]["/jobs/{job_id}"]["get"]["parameters"][0]["description"]
    assert silent_fields(document) == ["/components/schemas/JobView/id"]
    assert silent_parameters(document) == ["get /jobs/{job_id} job_id"]


@pytest.mark.parametrize("kind", SHOWN, ids=lambda kind: kind.__name__)
def test_an_example_is_what_its_schema_says_and_nothing_else(document: Document, kind: type[BaseModel]) -> None:
    for example in examples(document, kind):
        read = kind.model_validate(example, extra="forbid")
        assert read.model_dump(mode="json", exclude_unset=True) == example


@pytest.mark.parametrize("kind", WHOLE, ids=lambda kind: kind.__name__)
def test_an_example_shows_every_field(document: Document, kind: type[BaseModel]) -> None:
    assert set(examples(document, kind)[-1]) == set(kind.model_fields)


def test_every_example_is_held_against_its_schema() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.json")} == {kind.__name__ for kind in SHOWN}


def test_every_reference_leads_to_a_schema(document: Document) -> None:
    problem = document["paths"]["/jobs"]["post"]["responses"]["4XX"]["content"]["application/problem+json"]["schema"]
    assert problem == {"$ref": "#/components/schemas/ProblemDetails"}
    missing = [ref for ref in references(document) if ref.rpartition("/")[2] not in document["components"]["schemas"]]
    assert missing == []


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from references(inner)
