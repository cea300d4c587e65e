"""Read and write the protocol's bodies: JSON, then tensors in binary.

Source: the Open Inference Protocol's HTTP/REST specification, and Triton's binary tensor and classification extensions.
"""

import json
import math
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, FailFast, Field, field_validator

from core import base64_text
from core.errors import InvalidInput
from service.web.json_body import read_json

HEADER_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON in front of the tensors' bytes
NOT_NUMBERS = (ValueError, TypeError, OverflowError)  # what numpy says of a list of anything else
NUMBERS = {"UINT8": "<u1", "INT32": "<i4", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8"}

Side = Annotated[int, Field(ge=0, le=2**15)]  # of four such sides the product is still a number of 64 bits
Numbers = npt.NDArray[Any]


class InputParameters(BaseModel):
    binary_data_size: int | None = Field(None, ge=0)


class RequestedInput(BaseModel):
    name: str
    shape: Annotated[list[Side], FailFast(), Field(min_length=1, max_length=4)]
    datatype: Literal["UINT8", "INT32", "INT64", "FP32", "FP64", "BYTES"]
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = Field(None, max_length=2**22)


class OutputParameters(BaseModel):
    binary_data: bool | None = None
    classification: int | None = Field(None, ge=0)


class RequestedOutput(BaseModel):
    name: str
    parameters: OutputParameters = OutputParameters()


class RequestParameters(BaseModel):
    model_config = ConfigDict(extra="allow")

    binary_data_output: bool = False
    preprocess: Literal["auto", "none", "center", "invert"] = "auto"


class InferRequest(BaseModel):
    id: str | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: Annotated[list[RequestedInput], FailFast(), Field(min_length=1, max_length=4)]
    outputs: Annotated[list[RequestedOutput], FailFast(), Field(max_length=8)] = []

    @field_validator("outputs")
    @classmethod
    def _each_once(cls, outputs: list[RequestedOutput]) -> list[RequestedOutput]:
        if len({output.name for output in outputs}) < len(outputs):
            raise ValueError("an output is named twice")
        return outputs


def read_request(
    body: bytes, json_length: int | None, max_json_bytes: int
) -> tuple[InferRequest, list[Numbers | list[bytes]]]:
    """Parse a request and, for each input, its numbers or bytes.

    Numbers come in their shape, other elements as bytes each. ``json_length`` is where the JSON ends and tensors
    follow; None if the body is JSON alone.
    """
    end = len(body) if json_length is None else json_length
    if not 0 <= end <= len(body):
        raise InvalidInput(f"{HEADER_LENGTH} is {end}, and the body has {len(body)} bytes.")
    request = read_json(InferRequest, body[:end], max_json_bytes)
    tensors, rest = [], memoryview(body)[end:]
    for given in request.inputs:
        size = given.parameters.binary_data_size
        if size is not None and size > len(rest):
            raise InvalidInput(f"{given.name}: binary_data_size is {size}, and {len(rest)} bytes are left.")
        tensors.append(_from_json(given) if size is None else _from_binary(given, rest[:size]))
        rest = rest[size or 0 :]
    if len(rest):
        raise InvalidInput(f"{len(rest)} bytes follow the last tensor.")
    return request, tensors


def _from_json(given: RequestedInput) -> Numbers | list[bytes]:
    if given.data is None:
        raise InvalidInput(f"{given.name} has neither data nor binary_data_size.")
    if given.datatype == "BYTES":
        return _counted(given, _files(given.name, given.data))
    try:
        tensor = np.asarray(given.data, NUMBERS[given.datatype])
    except NOT_NUMBERS as error:
        raise InvalidInput(f"{given.name}: its data is not {given.datatype}.") from error
    return _shaped(given, tensor)


def _files(name: str, data: list[Any]) -> list[bytes]:
    try:
        return [base64_text.decode(text, name) for text in _flat(data)]
    except (AttributeError, TypeError) as error:  # of what is no text
        raise InvalidInput(f"{name}: BYTES in JSON are texts in base64.") from error


def _flat(data: list[Any]) -> list[Any]:
    return [inner for entry in data for inner in (_flat(entry) if isinstance(entry, list) else [entry])]


def _from_binary(given: RequestedInput, data: memoryview) -> Numbers | list[bytes]:
    if given.datatype == "BYTES":
        return _counted(given, _split(given.name, data))
    kind = np.dtype(NUMBERS[given.datatype])
    if len(data) % kind.itemsize:
        raise InvalidInput(f"{given.name}: {len(data)} bytes are no whole number of {given.datatype}.")
    return _shaped(given, np.frombuffer(data, kind))


def _split(name: str, data: memoryview) -> list[bytes]:
    """Split binary data into elements, each behind its length.

    A length has four bytes.
    """
    elements = []
    while len(data):
        length = int.from_bytes(data[:4], "little")
        if len(data) < 4 + length:
            raise InvalidInput(f"{name}: an element is said to have {length} bytes, and {len(data) - 4} are left.")
        elements.append(bytes(data[4 : 4 + length]))
        data = data[4 + length :]
    return elements


def _counted(given: RequestedInput, elements: list[bytes]) -> list[bytes]:
    if len(elements) != math.prod(given.shape):
        raise InvalidInput(f"{given.name}: {len(elements)} elements do not have the shape {given.shape}.")
    return elements


def _shaped(given: RequestedInput, numbers: Numbers) -> Numbers:
    if numbers.size != math.prod(given.shape):
        raise InvalidInput(f"{given.name}: {numbers.size} numbers do not have the shape {given.shape}.")
    return numbers.reshape(given.shape)


class Response:
    """A response whose outputs are added one by one.

    Those that are wanted in binary follow the JSON.
    """

    def __init__(self, model_name: str, model_version: str, request: InferRequest) -> None:
        self._head: dict[str, Any] = {"model_name": model_name, "model_version": model_version, "outputs": []}
        if request.id is not None:
            self._head["id"] = request.id
        self._binary_by_default = request.parameters.binary_data_output
        self._binary: list[bytes] = []

    def add(self, wanted: RequestedOutput, numbers: Numbers) -> None:
        """Add an output.

        Float numbers become FP32, texts BYTES.
        """
        is_text = numbers.dtype.kind == "U"
        output: dict[str, Any] = {
            "name": wanted.name,
            "datatype": "BYTES" if is_text else "FP32",
            "shape": list(numbers.shape),
        }
        in_binary = wanted.parameters.binary_data
        if self._binary_by_default if in_binary is None else in_binary:
            data = _joined(numbers) if is_text else numbers.astype("<f4").tobytes()
            output["parameters"] = {"binary_data_size": len(data)}
            self._binary.append(data)
        else:
            output["data"] = numbers.ravel().tolist()
        self._head["outputs"].append(output)

    def body(self) -> tuple[bytes, int | None]:
        """Return the whole body, and the length of its JSON.

        The length is None unless tensors follow.
        """
        head = json.dumps(self._head).encode()
        return b"".join([head, *self._binary]), len(head) if self._binary else None


def _joined(texts: Numbers) -> bytes:
    encoded = [text.encode() for text in texts.ravel().tolist()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)
