"""worker.data.datasets.svhn: Matlab's columns and its label 10, as images and digits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from scipy import io  # type: ignore[import-untyped]

from core.errors import DatasetInvalid, DatasetUnavailable
from core.imaging.preparation import Preparation, from_array, prepare
from core.settings import Settings
from tests.support.datafiles import md5
from tests.support.webfolder import NOBODY, served
from worker.data.datasets import svhn

IMAGES = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), np.uint8)  # rows, columns, colours, images
LABELS = np.array([[10], [1], [9], [10]], np.uint8)
FILES = ("train_32x32.mat", "test_32x32.mat")


@pytest.fixture
def folder(settings: Settings) -> Path:
    where = settings.resolved_datasets_dir / "svhn"
    where.mkdir(parents=True)
    return where


def write(folder: Path, file: str, **arrays: Any) -> None:
    io.savemat(folder / file, {"X": IMAGES, "y": LABELS} | arrays, do_compression=True)


def test_images_are_in_colour_and_ten_is_zero(settings: Settings, folder: Path) -> None:
    for file in FILES:
        write(folder, file)
    data = svhn.load(settings)
    assert data.train_images.shape == data.test_images.shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(data.train_images, [IMAGES[:, :, :, number] for number in range(4)])
    assert [data.classes[label] for label in data.test_labels] == ["0", "1", "9", "0"]
    assert (data.style, data.detail) == ("plain", 32)


def test_a_picture_of_another_size_is_brought_to_the_images_form(settings: Settings, folder: Path) -> None:
    for file in FILES:
        write(folder, file)
    data = svhn.load(settings)
    preparation = Preparation(
        style=data.style, height=32, width=32, channels=3, image_size=32, mean=(0, 0, 0), std=(1, 1, 1)
    )
    assert prepare(from_array(np.zeros((50, 40, 3)).tolist()), preparation).pixels.shape == data.train_images.shape[1:]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": IMAGES.astype(np.float64)}, "X is float64"),
        ({"X": IMAGES[:28]}, "X is uint8 of 28x32x3x4"),
        ({"X": np.moveaxis(IMAGES, 3, 0)}, "X is uint8 of 4x32x32x3"),
        ({"y": LABELS[:3]}, "for each of its 3 labels"),
        ({"y": np.array([[11]] * 4)}, r"outside 0\.\.9"),
    ],
)
def test_arrays_of_another_form_are_refused(settings: Settings, folder: Path, arrays: Any, words: str) -> None:
    write(folder, FILES[0])
    write(folder, FILES[1], **arrays)
    with pytest.raises(DatasetInvalid, match=words) as refusal:
        svhn.load(settings)
    assert "test" in str(refusal.value)


def test_arrays_of_other_names_are_named(settings: Settings, folder: Path) -> None:
    io.savemat(folder / FILES[0], {"images": IMAGES})
    with pytest.raises(DatasetInvalid, match=r"train_32x32\.mat should hold arrays X and y and holds images"):
        svhn.load(settings)


def test_what_is_missing_is_downloaded_with_its_checksum(
    settings: Settings, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, FILES[0])
    (tmp_path / "svhn").mkdir()
    write(tmp_path / "svhn", FILES[1])
    entry = [f"{NOBODY}/{FILES[1]}", FILES[1], md5((tmp_path / "svhn" / FILES[1]).read_bytes())]
    monkeypatch.setitem(torchvision.datasets.SVHN.split_list, "test", entry)
    with served(tmp_path) as address:
        data = svhn.load(settings.model_copy(update={"datasets_mirror": address}))
    assert svhn.load(settings).digest == data.digest  # the second time from the disk


def test_nothing_there_and_nobody_to_ask_says_what_to_put_where(settings: Settings) -> None:
    with pytest.raises(DatasetUnavailable) as refusal:
        svhn.load(settings.model_copy(update={"datasets_mirror": NOBODY}))
    assert "train_32x32.mat and test_32x32.mat" in refusal.value.hint
