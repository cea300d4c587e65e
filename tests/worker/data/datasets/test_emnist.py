"""worker.data.datasets.emnist: one zip for all splits, and images brought to MNIST's form."""

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torchvision

from core.errors import DatasetInvalid, DatasetUnavailable
from core.imaging.preparation import preprocess_digit
from core.settings import Settings
from tests.support.datafiles import idx, md5, zipped
from tests.support.webfolder import NOBODY, served
from worker.data.datasets import load

UPRIGHT = np.zeros((2, 28, 28), np.uint8)  # a "1" and a "7" that fill EMNIST's box of 24 pixels
UPRIGHT[0, 2:26, 12:16] = 255
UPRIGHT[1, 2:26, 16:19] = 255
UPRIGHT[1, 2:5, 8:16] = 255
STORED = UPRIGHT.transpose(0, 2, 1)
LABELS = {"digits": np.array([1, 7], np.uint8), "letters": np.array([1, 26], np.uint8)}


def files(split: str) -> dict[str, bytes]:
    return {
        f"emnist-{split}-{part}-{kind}": idx(values)
        for part in ("train", "test")
        for kind, values in (("images-idx3-ubyte", STORED), ("labels-idx1-ubyte", LABELS[split]))
    }


ARCHIVE = zipped({f"gzip/{name}.gz": gzip.compress(data) for split in LABELS for name, data in files(split).items()})
GZIPPED = {f"{name}.gz": gzip.compress(data) for name, data in files("letters").items()}
LAYOUTS: Mapping[str, Mapping[str, bytes]] = {
    "the zip": {"gzip.zip": ARCHIVE},
    "the zip where torchvision leaves it": {"EMNIST/raw/gzip.zip": ARCHIVE},
    "gzipped": GZIPPED,
    "the zip unpacked": {f"gzip/{name}": data for name, data in GZIPPED.items()},
    "torchvision's tree": {f"EMNIST/raw/{name}": data for name, data in files("letters").items()},
    "kaggle's archive": {f"emnist_source_files/{name}": data for name, data in files("letters").items()},
}


def lay_out(folder: Path, content: Mapping[str, bytes]) -> None:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_letters_stand_upright_and_count_from_a(settings: Settings, layout: str) -> None:
    lay_out(settings.resolved_datasets_dir / "emnist_letters", LAYOUTS[layout])
    data = load("emnist_letters", settings)
    seven = np.asarray(data.train_images)[1, ..., 0]
    assert seven[7:9, 8:17].min() == 255  # the arm is above, to the left of the bar
    np.testing.assert_array_equal(data.train_images, data.test_images)
    assert [data.classes[label] for label in data.train_labels] == ["a", "z"]
    assert (len(data.classes), data.style, data.detail) == (26, "digit", 28)


@pytest.mark.parametrize("number", [0, 1])
def test_they_have_the_form_that_a_drawing_is_given(settings: Settings, number: int) -> None:
    lay_out(settings.resolved_datasets_dir / "emnist_letters", GZIPPED)
    image = np.asarray(load("emnist_letters", settings).train_images)[number, ..., 0]
    on_paper = 255 - np.pad(UPRIGHT[number].repeat(3, 0).repeat(3, 1), ((50, 10), (5, 70)))
    drawing = preprocess_digit(on_paper).pixels[..., 0].astype(int)
    assert np.abs(drawing - image).mean() < 8 < np.abs(drawing - UPRIGHT[number]).mean()  # grey levels
    assert np.ptp(np.flatnonzero(image.any(1))) == 19


def test_a_blank_image_stays_blank(settings: Settings) -> None:
    blank = {"emnist-letters-test-images-idx3-ubyte.gz": idx(np.zeros((2, 28, 28), np.uint8))}
    lay_out(settings.resolved_datasets_dir / "emnist_letters", GZIPPED | blank)
    assert np.asarray(load("emnist_letters", settings).test_images).max() == 0


def test_images_of_another_size_are_refused(settings: Settings) -> None:
    other = {"emnist-letters-test-images-idx3-ubyte.gz": idx(np.zeros((2, 32, 28), np.uint8))}
    lay_out(settings.resolved_datasets_dir / "emnist_letters", GZIPPED | other)
    with pytest.raises(DatasetInvalid, match=r"test-images.*28x28, not \(32, 28\)"):
        load("emnist_letters", settings)


@pytest.mark.parametrize("owner", ["emnist_digits", "emnist_letters"])
def test_one_zip_serves_both(settings: Settings, tmp_path: Path, owner: str) -> None:
    lay_out(settings.downloaded_datasets_dir / owner, {"gzip.zip": ARCHIVE})
    settings = settings.model_copy(update={"datasets_dir": tmp_path / "sets"})
    digits, letters = load("emnist_digits", settings), load("emnist_letters", settings)
    assert [digits.classes[label] for label in digits.test_labels] == ["1", "7"]
    assert [letters.classes[label] for label in letters.test_labels] == ["a", "z"]
    np.testing.assert_array_equal(digits.train_images, letters.train_images)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ARCHIVE[:-50], r"gzip\.zip cannot be unpacked"),
        (b"<html>404</html>", r"gzip\.zip cannot be unpacked"),
        (zipped({"gzip/other.gz": b""}), r"gzip\.zip holds no emnist-letters-train-images-idx3-ubyte\.gz"),
        (zipped({f"gzip/{name}": b"x" for name in GZIPPED}), r"gzip\.zip/emnist-letters-train-images.* not an IDX"),
    ],
)
def test_a_broken_zip_is_named(settings: Settings, data: bytes, words: str) -> None:
    lay_out(settings.resolved_datasets_dir / "emnist_letters", {"gzip.zip": data})
    with pytest.raises(DatasetInvalid, match=words):
        load("emnist_letters", settings)


def test_a_label_before_the_first_is_refused(settings: Settings) -> None:
    labels = {"emnist-letters-test-labels-idx1-ubyte.gz": idx(np.array([0, 26], np.uint8))}
    lay_out(settings.resolved_datasets_dir / "emnist_letters", GZIPPED | labels)
    with pytest.raises(DatasetInvalid, match=r"a test label lies outside 0\.\.25"):
        load("emnist_letters", settings)


def test_the_zip_is_downloaded_with_its_checksum_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path / "site" / "emnist_digits", {"gzip.zip": ARCHIVE})
    monkeypatch.setattr(torchvision.datasets.EMNIST, "md5", md5(ARCHIVE))
    with served(tmp_path / "site") as address:
        load("emnist_digits", settings.model_copy(update={"datasets_mirror": address}))
    letters = load("emnist_letters", settings.model_copy(update={"datasets_mirror": NOBODY}))
    assert letters.name == "emnist_letters"


def test_nothing_there_and_nobody_to_ask_says_what_to_put_where(settings: Settings) -> None:
    with pytest.raises(DatasetUnavailable, match=r"emnist_digits/gzip\.zip") as refusal:
        load("emnist_digits", settings.model_copy(update={"datasets_mirror": NOBODY}))
    assert "gzip.zip, or emnist-digits-train-images-idx3-ubyte.gz" in refusal.value.hint
