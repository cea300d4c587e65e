"""worker.data.formats.mat_files: arrays of numbers, held against what scipy writes."""

from pathlib import Path

import numpy as np
import pytest
from scipy import io  # type: ignore[import-untyped]

from core.errors import DatasetInvalid
from worker.data.formats.mat_files import read_matlab

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (32, 32, 3, 5), np.uint8)
LABELS = np.array([[10], [1], [2], [3], [4]], np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "train_32x32.mat"


@pytest.mark.parametrize("packed", [True, False])
def test_arrays_come_back_by_their_names(file: Path, packed: bool) -> None:
    io.savemat(file, {"X": IMAGES, "y": LABELS}, do_compression=packed)
    arrays = read_matlab(file)
    assert sorted(arrays) == ["X", "y"]
    np.testing.assert_array_equal(arrays["X"], IMAGES)
    np.testing.assert_array_equal(arrays["y"], LABELS)


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (2, 3), (2, 3, 4), (0, 0)])
def test_every_type_and_shape_is_read_as_scipy_reads_it(file: Path, kind: str, shape: tuple[int, ...]) -> None:
    values = RANDOM.integers(0, 100, shape).astype(kind)
    io.savemat(file, {"a_long_name": values})
    read = read_matlab(file)["a_long_name"]
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, io.loadmat(file)["a_long_name"])


def test_what_is_no_array_of_numbers_is_passed_over(file: Path) -> None:
    io.savemat(file, {"a": {"field": 1}, "b": np.array(["x", 1], object), "c": np.eye(2) * 1j, "y": LABELS})
    assert list(read_matlab(file)) == ["y"]


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"])
def test_a_file_of_another_kind_is_refused_by_name(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(DatasetInvalid, match=r"train_32x32\.mat is not a Matlab file of level 5"):
        read_matlab(file)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("left", [129, 140, 150, 180, 250, -1, -8, -100])
def test_a_truncated_file_is_refused_by_name(file: Path, packed: bool, left: int) -> None:
    io.savemat(file, {"X": IMAGES}, do_compression=packed)
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(DatasetInvalid, match=r"train_32x32\.mat is not a whole Matlab file"):
        read_matlab(file)


@pytest.mark.parametrize("packed", [True, False])
def test_damage_ends_in_a_refusal_or_in_an_array(file: Path, packed: bool) -> None:
    io.savemat(file, {"X": IMAGES, "y": LABELS}, do_compression=packed)
    whole, random, refused = file.read_bytes(), np.random.default_rng(1), 0
    for _ in range(300):
        data = bytearray(whole)
        for place in random.integers(120, 400, 3):
            data[place] = random.integers(256)
        file.write_bytes(data)
        try:
            read_matlab(file)
        except DatasetInvalid:
            refused += 1
    assert refused > 30
