"""worker.datasets.idx: the format of MNIST's files."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from core.errors import DatasetInvalid
from worker.datasets.idx import read_idx

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx(values: np.ndarray, kind: int = 0x08) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, kind, values.ndim, *values.shape) + values.tobytes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "train-images-idx3-ubyte"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_the_array_in_the_file_comes_back(file: Path, pack: type[bytes]) -> None:
    file.write_bytes(pack(idx(VALUES)))
    np.testing.assert_array_equal(read_idx(file, 3), VALUES)


def test_labels_have_one_dimension(file: Path) -> None:
    file.write_bytes(idx(VALUES.ravel()))
    np.testing.assert_array_equal(read_idx(file, 1), VALUES.ravel())


def test_sizes_are_read_with_the_high_byte_first(file: Path) -> None:
    file.write_bytes(idx(np.zeros(300, np.uint8)))
    assert read_idx(file, 1).shape == (300,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an IDX file"),
        (b"<html>404</html>", "not an IDX file"),
        (idx(VALUES)[:10], "not an IDX file"),  # ends within the header
        (idx(VALUES.ravel()), "with 3 dimensions"),  # labels where images should be
        (idx(VALUES, kind=0x0D), "not an IDX file of bytes"),  # floats
        (idx(VALUES)[:-1], "should hold 24 values and holds 23"),
        (idx(VALUES) + b"x", "should hold 24 values and holds 25"),
        (struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "should hold"),  # asks for more than there is memory
        (gzip.compress(idx(VALUES))[:-9], "not a whole gzip file"),
        (gzip.compress(idx(VALUES))[:12] + b"\xff" * 30, "not a whole gzip file"),
        (b"\x1f\x8bnot gzip after all", "not a whole gzip file"),
    ],
)
def test_a_file_that_is_not_one_is_refused_by_name(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DatasetInvalid, match=words) as refusal:
        read_idx(file, 3)
    assert str(file) in str(refusal.value)
