"""Readers of MNIST's IDX format, raw or gzipped.

Source: "The IDX file format", LeCun's MNIST page.

Every reader also takes the bytes of a file in an archive; the path then only appears in errors.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from core.errors import DatasetInvalid
from core.imaging.idx_format import INT32, UINT8, header_bytes, shape_of

GZIP_MAGIC = b"\x1f\x8b"

Scalar = TypeVar("Scalar", bound=np.generic)


def find_idx(root: Path, torchvision_name: str, file: str) -> Path | None:
    """Find a file by its canonical name in any known layout.

    None if there is none. Layouts: plain or gzipped files, torchvision's ``<Name>/raw`` tree, and the Kaggle archive's
    ``train-images.idx3-ubyte``, plain or inside a folder of its own name.
    """
    dotted = file.replace("-idx", ".idx")
    names = (
        file,
        f"{file}.gz",
        dotted,
        f"{dotted}.gz",
        f"{file}/{file}",
        f"{dotted}/{dotted}",
        f"{file}/{dotted}",
        f"{dotted}/{file}",
    )
    for folder in (root, root / "raw", root / torchvision_name / "raw"):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    return None


def read_images(path: Path, data: bytes | None = None) -> npt.NDArray[np.uint8]:
    """Read grey images, n x height x width x 1."""
    return read_idx(path, 3, data)[..., None]


def read_labels(path: Path, data: bytes | None = None) -> npt.NDArray[np.int64]:
    return read_idx(path, 1, data).astype(np.int64)


def read_idx(path: Path, dimensions: int, data: bytes | None = None) -> npt.NDArray[np.uint8]:
    """Read an array of bytes with that many dimensions.

    DatasetInvalid names the file and the problem.
    """
    return _read(path, dimensions, data, UINT8, np.dtype(np.uint8))


def read_idx_int32(path: Path, dimensions: int, data: bytes | None = None) -> npt.NDArray[np.int32]:
    """Read an array of 32-bit integers.

    DatasetInvalid names the file and the problem.
    """
    return _read(path, dimensions, data, INT32, np.dtype(np.int32).newbyteorder(">"))


def _read(path: Path, dimensions: int, data: bytes | None, kind: int, dtype: np.dtype[Scalar]) -> npt.NDArray[Scalar]:
    data = _unpacked(path, path.read_bytes() if data is None else data)
    header, shape = header_bytes(dimensions), shape_of(data, dimensions, kind)
    if shape is None:
        what = "bytes" if kind == UINT8 else "32-bit integers"
        raise DatasetInvalid(f"{path} is not an IDX file of {what} with {dimensions} dimensions.")
    if len(data) != header + math.prod(shape) * dtype.itemsize:
        held = (len(data) - header) / dtype.itemsize
        raise DatasetInvalid(f"{path} should hold {math.prod(shape)} values and holds {held:g}.")
    return np.frombuffer(data, dtype, offset=header).reshape(shape)


def _unpacked(path: Path, data: bytes) -> bytes:
    if not data.startswith(GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetInvalid(f"{path} is not a whole gzip file: {error}.") from error
