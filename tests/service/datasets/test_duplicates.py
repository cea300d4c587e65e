"""service.datasets.duplicates: duplicates are reported, under two labels as errors."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest

from core.imaging.idx_format import FILES
from tests.service.datasets.conftest import Send, problems, refused
from tests.support.datafiles import idx
from tests.support.setfiles import pets, photo

PARTS = pets("cat", "dog", above="train/") | pets("cat", "dog", above="test/")


def test_the_same_bytes_in_train_and_test_are_a_warning_at_the_one_in_test(send: Send) -> None:
    built = send({"test/cat/again.png": PARTS["train/cat/0.png"]} | PARTS)
    assert (built.counts["cat"], problems(built)) == ({"train": 3, "test": 4}, {"test/cat/again.png": "same_bytes"})


def test_the_same_bytes_under_two_labels_are_an_error_in_whatever_parts(send: Send) -> None:
    sent = PARTS | {
        "test/dog/cat.png": PARTS["train/cat/0.png"],
        "train/dog/dog.png": photo(1),
        "train/cat/dog.png": photo(1),
    }
    assert list(refused(send, sent).values()) == ["two_labels"] * 2


def test_the_same_bytes_twice_in_one_class_and_part_are_nothing_to_tell(send: Send) -> None:
    assert problems(send(PARTS | {"train/cat/again.png": PARTS["train/cat/0.png"]})) == {}


def four_files(same: Mapping[int, int]) -> dict[str, bytes]:
    """Make IDX files of six training and three test images.

    The training images are of the classes 0, 1, 2, 0, 1, 2. No two images are the same but for those that ``same``
    makes equal to another; the test's are numbered on from six.
    """
    images: npt.NDArray[np.uint8] = np.arange(9 * 4, dtype=np.uint8).reshape(9, 2, 2)
    for place, source in same.items():
        images[place] = images[source]
    labels = np.array([0, 1, 2, 0, 1, 2], np.uint8)
    return dict(zip(FILES, (idx(images[:6]), idx(labels), idx(images[6:]), idx(labels[:3])), strict=True))


@pytest.mark.parametrize(("place", "where"), [(2, f"{FILES[0]} image 2"), (8, f"{FILES[2]} image 2")])
def test_an_image_under_two_labels_of_idx_files_is_an_error(send: Send, place: int, where: str) -> None:
    assert refused(send, four_files({place: 1})) == {f"{where}, counted from 0": "two_labels"}


def test_an_image_in_both_parts_of_idx_files_is_a_warning_at_the_one_in_test(send: Send) -> None:
    built = send(four_files({7: 4}))
    assert problems(built) == {f"{FILES[2]} image 1, counted from 0": "same_bytes"}
    assert built.problems[0].reason.startswith(
        f"It holds the same bytes as {FILES[0]} image 4, counted from 0 in the tr"
    )


def test_an_image_twice_in_one_class_and_part_of_idx_files_is_nothing_to_tell(send: Send) -> None:
    assert problems(send(four_files({3: 0}))) == {}


def test_images_of_equal_hashes_are_compared_byte_by_byte(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.datasets.layouts.idx_files.hash", lambda _data: 1, raising=False)
    assert problems(send(four_files({}))) == {}
