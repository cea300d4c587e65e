"""Reader of numeric arrays in MATLAB level 5 files.

They may be compressed or not, as SVHN uses them.

scipy's reader crashes on a damaged file (a segmentation fault, scipy 1.17.1). Source: "MAT-File Format", MathWorks.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import DatasetInvalid

HEADER = 128  # bytes; the last two say how the rest is written
BYTE_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
PARTS = 4  # of an array of numbers: flags, dimensions, name, values

Array = npt.NDArray[Any]
Element = tuple[int, memoryview]  # kind, content


def read_matlab(path: Path) -> dict[str, Array]:
    """Read a file's numeric arrays by name, in their stored types.

    DatasetInvalid names the file.
    """
    data = path.read_bytes()
    order = BYTE_ORDERS.get(data[HEADER - 4 : HEADER])
    if order is None:
        raise DatasetInvalid(f"{path} is not a Matlab file of level 5.")
    try:
        return dict(_arrays(memoryview(data)[HEADER:], order))
    except (struct.error, zlib.error, ValueError, KeyError) as error:
        raise DatasetInvalid(f"{path} is not a whole Matlab file: {error}.") from error


def _arrays(data: memoryview, order: str) -> Iterator[tuple[str, Array]]:
    for kind, content in _elements(data, order):
        if kind == COMPRESSED:
            yield from _arrays(memoryview(zlib.decompress(content)), order)
        elif kind == MATRIX and len(parts := list(_elements(content, order))) == PARTS:
            yield _array(parts, order)


def _array(parts: list[Element], order: str) -> tuple[str, Array]:
    _, (_, dimensions), (_, name), (kind, values) = parts
    shape: Any = np.frombuffer(dimensions, f"{order}i4").tolist()
    return bytes(name).decode(), np.frombuffer(values, f"{order}{NUMBERS[kind]}").reshape(shape, order="F")


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    at = 0
    while at < len(data):
        (kind,) = struct.unpack_from(f"{order}I", data, at)
        if kind >> 16:  # up to four bytes of content: everything is in eight
            start, size, kind = at + 4, kind >> 16, kind & 0xFFFF
            at += 8
        else:
            (size,) = struct.unpack_from(f"{order}I", data, at + 4)
            start = at + 8
            at = start + size + (-size % 8 if kind != COMPRESSED else 0)
        if start + size > len(data):
            raise ValueError(f"it should go on for {start + size - len(data)} bytes")
        yield kind, data[start : start + size]
