"""JSON bodies with images: bounded, and every error names its field."""

import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, FailFast

from core.errors import InvalidInput, TooLarge
from service.api.open_inference.messages import InferRequest
from service.inference.request_images import PredictBody
from service.web.json_body import read_json

PLENTY = 4 * 2**20
NO_JSON = [b"", b"{", b"\xff", b'{"images": [{"array": [[0]]}', b'{"images": [{"b64": "\xff"}]}']


class Numbers(BaseModel):
    rows: Annotated[list[int], FailFast()]


def test_a_body_may_have_as_many_bytes_as_are_allowed() -> None:
    data = b'{"rows": [1, 2]}'
    assert read_json(Numbers, data, len(data)).rows == [1, 2]
    with pytest.raises(TooLarge, match=r"15 bytes, and this has 16: .*multipart/form-data.* binary tensors to /v2"):
        read_json(Numbers, data, len(data) - 1)


@pytest.mark.parametrize("data", NO_JSON)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="not JSON") as refused:
        read_json(PredictBody, data, PLENTY)
    assert refused.value.pointer == ""


@pytest.mark.parametrize("data", [b"[" * 10**6, b'{"images": [{"array": ' + b"[" * 10**6 + b"]" * 10**6 + b"}]}"])
def test_json_nested_too_deeply_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="not JSON: recursion limit"):
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
    """A million errors would take a gigabyte to say."""
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
