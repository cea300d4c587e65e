"""JSON bodies with images: bounded, and every error names its field."""

import json
from typing import Annotated, Any

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel, FailFast

from core.artifacts.batch_files import Line
from core.errors import InvalidInput, TooLarge
from core.settings import Settings
from service.api.open_inference.messages import InferRequest
from service.app import SMALL_BODY, create_app
from service.inference.request_images import PredictBody
from service.web.json_body import JsonRoute, read_json
from tests.conftest import running

PLENTY = 4 * 2**20
NO_JSON = [b"", b"{", b"\xff", b'{"images": [{"array": [[0]]}', b'{"images": [{"b64": "\xff"}]}']


class Numbers(BaseModel):
    rows: Annotated[list[int], FailFast()]


def test_a_body_may_have_as_many_bytes_as_are_allowed() -> None:
    data = b'{"rows": [1, 2]}'
    assert read_json(Numbers, data, len(data)).rows == [1, 2]
    with pytest.raises(TooLarge, match=r"15 bytes, and this has 16: .*multipart/form-data.* binary tensors to /v2"):
        read_json(Numbers, data, len(data) - 1)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read_json(Numbers, b'\xef\xbb\xbf{"rows": [1]}', PLENTY).rows == [1]


@pytest.mark.parametrize("data", NO_JSON)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="not JSON") as refused:
        read_json(PredictBody, data, PLENTY)
    assert refused.value.pointer == ""


@pytest.mark.parametrize("data", [b"[" * 10**6, b'{"images": [{"array": ' + b"[" * 10**6 + b"]" * 10**6 + b"}]}"])
def test_json_nested_too_deeply_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="more than 8 levels"):
        read_json(PredictBody, data, PLENTY)


@pytest.mark.parametrize(
    ("model", "body", "pointer"),
    [
        (PredictBody, {"images": [0] * 2**20}, "/images/0"),
        (InferRequest, {"inputs": [0] * 2**20}, "/inputs/0"),
        (InferRequest, {"inputs": [{"name": "", "datatype": "FP32", "shape": [""] * 2**20}]}, "/inputs/0/shape/0"),
    ],
    ids=["images", "inputs", "shape"],
)
def test_the_first_wrong_entry_of_a_long_list_ends_the_reading(model: type[BaseModel], body: Any, pointer: str) -> None:
    """The first wrong entry of a long list ends validation.

    A million errors would take a gigabyte to say.
    """
    counts = []

    class Counting(model):  # type: ignore[valid-type, misc]
        @classmethod
        def model_validate_json(cls, *given: Any, **options: Any) -> Any:
            try:
                return super().model_validate_json(*given, **options)
            except ValueError as error:
                counts.append(error.error_count())  # type: ignore[attr-defined]
                raise

    with pytest.raises(InvalidInput) as refused:
        read_json(Counting, json.dumps(body).encode(), 2 * PLENTY)
    assert refused.value.pointer == pointer
    assert counts == [1]


# -- bodies that FastAPI reads


def with_bodies(settings: Settings) -> list[APIRoute]:
    return [route for route in create_app(settings).routes if isinstance(route, APIRoute) and route.body_field]


def unbounded(schema: Any, where: str = "") -> list[str]:
    """The lists of a schema that may be of any length."""
    if isinstance(schema, list):
        return [found for one in schema for found in unbounded(one, where)]
    if not isinstance(schema, dict):
        return []
    own = [where] if schema.get("type") == "array" and "maxItems" not in schema else []
    return own + [found for name, one in schema.items() for found in unbounded(one, f"{where}/{name}")]


def test_every_list_of_the_contract_has_a_maximum(settings: Settings) -> None:
    models: list[Any] = [route.body_field.field_info.annotation for route in with_bodies(settings) if route.body_field]
    assert len(models) >= 3
    for model in (*models, PredictBody, InferRequest, Line):
        assert unbounded(model.model_json_schema(), model.__name__) == []


def test_every_json_body_is_read_by_a_route_that_bounds_it(settings: Settings) -> None:
    assert [route.path for route in with_bodies(settings) if not isinstance(route, JsonRoute)] == []


async def test_no_json_body_costs_more_than_it_should(settings: Settings) -> None:
    deep = b'{"metadata": ' + b"[" * 100 + b"]" * 100 + b"}"
    wide = json.dumps({f"field_{number}": 1 for number in range(4_000)}).encode()
    headers = {"Content-Type": "application/json"}
    async with running(settings) as http:
        for path in ("/jobs", "/keys"):
            told = await http.post(path, content=deep, headers=headers)
            assert (told.status_code, "more than 8 levels" in told.json()["detail"]) == (422, True)
            told = await http.post(path, content=b" " * (SMALL_BODY + 1), headers=headers)
            assert (told.status_code, told.json()["code"]) == (413, "too_large")
        told = await http.post("/jobs", content=wide, headers=headers)
        marked = await http.post("/jobs", content=b'\xef\xbb\xbf{"dataset": "digits"}', headers=headers)
    assert (told.status_code, len(told.json()["errors"])) == (422, 100)
    assert told.json()["detail"].endswith("; and 3900 more")
    assert marked.status_code == 202
