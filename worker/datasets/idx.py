"""The IDX format of MNIST's files, raw or gzipped. Source: "The IDX file format", LeCun's MNIST page."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import DatasetInvalid

GZIP_MAGIC = b"\x1f\x8b"
UINT8 = 0x08  # the only type that MNIST's relatives use


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """The array in the file, with that many dimensions. DatasetInvalid names the file and what is wrong with it."""
    data = path.read_bytes()
    if data.startswith(GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DatasetInvalid(f"{path} is not a whole gzip file: {error}.") from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes([0, 0, UINT8, dimensions]):
        raise DatasetInvalid(f"{path} is not an IDX file of bytes with {dimensions} dimensions.")
    shape: Any = np.frombuffer(data, ">u4", dimensions, offset=4).tolist()
    if len(data) != header + math.prod(shape):
        raise DatasetInvalid(f"{path} should hold {math.prod(shape)} values and holds {len(data) - header}.")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
