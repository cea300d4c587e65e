"""Arrays of numbers in JSON: read in pieces, and the same as if they were read at once."""

import json
from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest

from core.errors import InvalidInput
from service.json_arrays import NOT_VALUES, PIECE, WRONG_AT_MOST, leave_unread, numbers

RANDOM = np.random.default_rng(0)
SMALL = [(3,), (0,), (2, 0), (1, 1), (2, 2, 3)]
LARGE = [(40_000,), (300, 200), (1, 60_000), (60_000, 1), (90, 80, 3), (1, 1, 50_000), (2, 3, 5000)]
WRONG_ROWS: list[object] = [[1] * 199, [1] * 201, [], 7, [[1] * 200], ["a"] * 200, {}, "]],[["]
NO_LISTS = [b"7", b"{}", b'"a"', b"null", b"1" * (PIECE + 1), b"[" * 70_000 + b"]" * 70_000]
NO_JSON = [b"", b"{", b"\xff", b'{"images": [{"array": [[0]}]}', b'{"images": [{"b64": "\xff"}]}']


@pytest.mark.parametrize("shape", SMALL + LARGE, ids=str)
@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_of_any_size_is_read_as_it_was_written(shape: tuple[int, ...], indent: int | None) -> None:
    whole = RANDOM.integers(0, 256, shape)
    np.testing.assert_array_equal(numbers(json.dumps(whole.tolist(), indent=indent).encode(), "float64"), whole)
    fractions = RANDOM.random(shape) - 0.5
    np.testing.assert_array_equal(numbers(json.dumps(fractions.tolist(), indent=indent).encode(), "float64"), fractions)


def test_numbers_become_of_the_kind_that_is_asked_for() -> None:
    large = [2**62, -(2**62)] * 10_000
    np.testing.assert_array_equal(numbers(json.dumps(large).encode(), "<i8"), large)
    assert numbers(b"[1, 255]", "<u1").dtype == np.uint8
    with pytest.raises(NOT_VALUES):
        numbers(json.dumps([255] * 40_000 + [256]).encode(), "<u1")


def rows_with(row: object, place: int) -> bytes:
    rows: list[object] = [[1] * 200 for _ in range(300)]
    rows[place] = row
    return json.dumps(rows).encode()


@pytest.mark.parametrize("place", [0, 150, 299])
@pytest.mark.parametrize("row", WRONG_ROWS, ids=range(len(WRONG_ROWS)))
def test_a_large_array_with_a_wrong_row_is_refused(row: object, place: int) -> None:
    with pytest.raises(NOT_VALUES):
        numbers(rows_with(row, place), "float64")


@pytest.mark.parametrize("text", NO_LISTS, ids=len)
def test_what_is_no_list_of_numbers_is_refused(text: bytes) -> None:
    with pytest.raises(NOT_VALUES):
        numbers(text, "float64")


def test_only_the_field_of_the_entries_is_left_unread() -> None:
    body = {"images": [{"array": [[1, 2]], "b64": "x"}, {"array": None}, {}], "array": [3]}
    assert leave_unread(json.dumps(body).encode(), "images", "array") == {
        "images": [{"array": b"[[1, 2]]", "b64": "x"}, {"array": None}, {}],
        "array": [3],
    }


@pytest.mark.parametrize("body", [7, [], {}, {"images": 7}, {"images": [7]}, {"images": {"array": []}}, None], ids=str)
def test_a_body_of_another_shape_is_given_back_as_it_is(body: object) -> None:
    assert leave_unread(json.dumps(body).encode(), "images", "array") == body


@pytest.mark.parametrize("data", NO_JSON)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="not JSON"):
        leave_unread(data, "images", "array")


@pytest.mark.parametrize("data", [b"[" * 10**6, b'{"images": [{"array": ' + b"[" * 10**6 + b"]" * 10**6 + b"}]}"])
def test_json_nested_too_deeply_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        leave_unread(data, "images", "array")


def test_a_large_body_of_another_shape_is_not_read_to_say_what_is_wrong() -> None:
    with pytest.raises(InvalidInput, match="images, a list of objects"):
        leave_unread(json.dumps({"images": [0] * WRONG_AT_MOST}).encode(), "images", "array")


def test_a_large_array_is_read_a_piece_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter is held by one piece after the other, and other threads run between them."""
    read: list[int] = []

    def decode(text: bytes) -> Any:
        read.append(len(text))
        return msgspec.json.decode(text)

    text = json.dumps(RANDOM.integers(0, 256, (300, 300, 3)).tolist()).encode()
    monkeypatch.setattr("service.json_arrays.msgspec", Mock(json=Mock(decode=decode)))
    numbers(text, "float64")
    assert sum(read) > 0.7 * len(text)  # without the spaces
    assert max(read) <= PIECE + len("[]")
