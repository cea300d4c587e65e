"""worker.data.formats.idx_files: the format of MNIST's files."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from core.errors import DatasetInvalid
from tests.support.datafiles import idx
from worker.data.formats.idx_files import find_idx, read_idx, read_idx_int32

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
IMAGES = "train-images-idx3-ubyte"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / IMAGES


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
        (gzip.compress(idx(VALUES), mtime=0)[:-9], "not a whole gzip file"),
        (gzip.compress(idx(VALUES), mtime=0)[:12] + b"\xff" * 30, "not a whole gzip file"),
        (b"\x1f\x8bnot gzip after all", "not a whole gzip file"),
    ],
)
def test_a_file_that_is_not_one_is_refused_by_name(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DatasetInvalid, match=words) as refusal:
        read_idx(file, 3)
    assert str(file) in str(refusal.value)


def test_bytes_from_an_archive_are_read_like_those_of_a_file(file: Path) -> None:
    np.testing.assert_array_equal(read_idx(file, 3, gzip.compress(idx(VALUES))), VALUES)
    with pytest.raises(DatasetInvalid, match=str(file)):
        read_idx(file, 3, b"")


def test_integers_are_read_with_the_high_byte_first(file: Path) -> None:
    values = np.array([[1, 2], [-3, 70_000]])
    file.write_bytes(idx(values.astype(">i4"), kind=0x0C))
    np.testing.assert_array_equal(read_idx_int32(file, 2), values)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (idx(VALUES.reshape(6, 4)), "not an IDX file of 32-bit integers"),
        (idx(np.zeros((2, 3), ">i4"), kind=0x0C)[:-4], "should hold 6 values and holds 5"),
        (idx(np.zeros((2, 3), ">i4"), kind=0x0C)[:-1], "should hold 6 values and holds 5.75"),
    ],
)
def test_a_file_that_holds_no_integers_is_refused_by_name(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DatasetInvalid, match=words):
        read_idx_int32(file, 2)


def test_other_sets_files_are_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    (tmp_path / "FashionMNIST" / "raw" / IMAGES).touch()
    assert find_idx(tmp_path, "MNIST", IMAGES) is None
    assert find_idx(tmp_path, "FashionMNIST", IMAGES) is not None


def test_a_folder_of_the_files_name_is_not_the_file(tmp_path: Path) -> None:
    (tmp_path / IMAGES).mkdir()
    assert find_idx(tmp_path, "MNIST", IMAGES) is None
    (tmp_path / IMAGES / IMAGES).touch()
    assert find_idx(tmp_path, "MNIST", IMAGES) == tmp_path / IMAGES / IMAGES
