"""worker.data.photo_files: photos that stay in their files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from core.imaging.decoding import decode
from core.imaging.preparation import fit_photo
from tests.support.photofiles import FORM, PLENTY, photos_of, pixels_of, write_photos
from worker.data.photo_files import Facts, PhotoForm, examine, read, size_of


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return write_photos(tmp_path, 6)


def test_a_file_is_read_as_the_canonical_photo(paths: list[str]) -> None:
    for path in paths[:2]:
        picture = decode(Path(path).read_bytes(), PLENTY)
        np.testing.assert_array_equal(pixels_of(path), fit_photo(picture))
        np.testing.assert_array_equal(pixels_of(path, PhotoForm(64, "pad")), fit_photo(picture, 64, "pad"))
        assert size_of(path, PLENTY) == picture.size == (48, 36)


def test_what_cannot_be_read_is_named(paths: list[str], tmp_path: Path) -> None:
    Path(paths[0]).write_bytes(Path(paths[0]).read_bytes()[:200])
    Path(paths[1]).unlink()
    for path, reason in ((paths[0], "cannot be read"), (paths[1], "No such file"), (str(tmp_path), "Is a directory")):
        problem = read(path, FORM, PLENTY)
        assert isinstance(problem, str)
        assert problem.startswith(f"{path}: ")
        assert reason in problem
        assert examine(path, FORM, PLENTY) == problem
        assert size_of(path, PLENTY) is None or path == paths[0]


def test_a_file_with_more_pixels_than_allowed_is_not_decoded(paths: list[str]) -> None:
    assert "at most 100 pixels" in str(read(paths[0], FORM, 100))


def test_what_was_learnt_of_a_photo_is_true_of_its_pixels(paths: list[str]) -> None:
    fact = examine(paths[3], FORM, PLENTY)
    assert isinstance(fact, Facts)
    values = pixels_of(paths[3]).reshape(-1, 3).astype(np.int64)
    assert fact.digest == hashlib.sha256(Path(paths[3]).read_bytes()).digest()
    assert fact.moments.tolist() == [values.sum(0).tolist(), (values**2).sum(0).tolist()]


def test_what_is_chosen_keeps_what_belongs_to_it(paths: list[str]) -> None:
    photos = photos_of(paths)
    for chosen in (photos[np.array([4, 1])], photos[4:0:-3]):
        assert chosen.paths.tolist() == [paths[4], paths[1]]
        np.testing.assert_array_equal(chosen.moments, photos.moments[[4, 1]])


def test_it_says_how_large_it_would_be_in_memory(paths: list[str]) -> None:
    photos = photos_of(paths)
    assert photos.shape == (6, 224, 224, 3)
    assert photos.nbytes == np.zeros(photos.shape, np.uint8).nbytes
