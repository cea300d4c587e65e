"""EMNIST's digits and letters, from unpacked files, from its zip, or downloaded.

They are converted to MNIST's form, which `core.imaging.digits` makes of a drawing. EMNIST transposes its images, and
the ink fills a box of 24 pixels in the middle of the frame instead of one of 20 around the center of mass. Source:
Cohen et al. 2017.
"""

from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import numpy.typing as npt

from core.errors import DatasetInvalid
from core.imaging.digits.mnist_format import CENTRE, DIGIT_BOX, DIGIT_SIDE
from core.settings import Settings
from worker.data.datasets.dataset import Dataset, Images
from worker.data.datasets.mnist import DIGITS
from worker.data.formats.archives import read_files
from worker.data.formats.idx_files import find_idx, read_images, read_labels
from worker.data.sources import download, find

PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "test-images-idx3-ubyte", "test-labels-idx1-ubyte")
FOLDERS = ("", "gzip", "emnist_source_files")  # the last is Kaggle's; `find_idx` knows torchvision's
ARCHIVES = ("gzip.zip", "raw/gzip.zip", "EMNIST/raw/gzip.zip")
BOX = 24  # side in pixels of the box that the ink fills
BLOCK = 4096  # images converted at a time
SISTERS = ("emnist_digits", "emnist_letters")  # share one zip


def load_digits(settings: Settings) -> Dataset:
    return _load("emnist_digits", "digits", 0, DIGITS, settings)


def load_letters(settings: Settings) -> Dataset:
    """Load the letters as 26 classes.

    Upper and lower case are one class, named by the lower case.
    """
    return _load("emnist_letters", "letters", 1, tuple(ascii_lowercase), settings)


def _load(name: str, split: str, first_label: int, classes: tuple[str, ...], settings: Settings) -> Dataset:
    files = _files(name, [f"emnist-{split}-{part}" for part in PARTS], settings)
    train_images, train_labels, test_images, test_labels = files
    return Dataset(
        name=name,
        style="digit",
        detail=28,
        classes=classes,
        train_images=_images(*train_images),
        train_labels=read_labels(*train_labels) - first_label,
        test_images=_images(*test_images),
        test_labels=read_labels(*test_labels) - first_label,
    )


def _images(path: Path, data: bytes) -> Images:
    stored = read_images(path, data)
    if stored.shape[1:] != (DIGIT_SIDE, DIGIT_SIDE, 1):
        raise DatasetInvalid(f"{path} should hold images of {DIGIT_SIDE}x{DIGIT_SIDE}, not {stored.shape[1:3]}.")
    upright = stored[..., 0].transpose(0, 2, 1)
    images = np.zeros_like(stored)
    for start in range(0, len(stored), BLOCK):
        images[start : start + BLOCK, ..., 0] = _in_mnists_form(upright[start : start + BLOCK])
    return images


def _in_mnists_form(images: Images) -> Images:
    """Convert n x 28 x 28 images to MNIST's form at once.

    All at once, since EMNIST has 280,000 digits. `core.imaging.digits.mnist_format.centre_in_frame` does the same to
    one image.
    """
    edge, scale = (DIGIT_SIDE - BOX) // 2, _averages(BOX, DIGIT_BOX)
    ink = scale @ images[:, edge:-edge, edge:-edge].astype(np.float32) @ scale.T
    ink *= 255 / np.maximum(ink.max((1, 2), keepdims=True), 1)
    rows, columns = _places(ink.sum(2)), _places(ink.sum(1))
    frames = np.zeros_like(images)
    frames[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]] = ink.round()
    return frames


def _averages(long: int, short: int) -> npt.NDArray[np.float32]:
    """Build the matrix that shrinks a line of pixels by area averaging.

    It is short x long.
    """
    ends = np.arange(short + 1) * (long / short)
    left, right, pixels = ends[:-1, None], ends[1:, None], np.arange(long)
    covered = np.minimum(right, pixels + 1) - np.maximum(left, pixels)
    return np.asarray(covered.clip(0) * (short / long), np.float32)


def _places(mass: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Return the positions that centre the mass as MNIST does.

    n x 20: the place in the frame of each pixel of the box.
    """
    centre = mass @ np.arange(DIGIT_BOX, dtype=np.float32) / np.maximum(mass.sum(1), 1)
    first = (CENTRE - centre).round().clip(0, DIGIT_SIDE - DIGIT_BOX)
    return np.asarray(first[:, None] + np.arange(DIGIT_BOX), np.intp)


def _files(name: str, files: Sequence[str], settings: Settings) -> list[tuple[Path, bytes]]:
    """Return each file's path and bytes.

    Files lie in a folder or in the zip.
    """
    for folder in FOLDERS:
        root = settings.resolved_datasets_dir / name / folder
        paths = [path for file in files if (path := find_idx(root, "EMNIST", file))]
        if len(paths) == len(files):
            return [(path, path.read_bytes()) for path in paths]
    packed = [f"{file}.gz" for file in files]
    archive = _find_archive(name, settings) or _download(name, packed, settings)
    content = read_files(archive, packed)
    return [(archive / file, content[file]) for file in packed]


def _find_archive(name: str, settings: Settings) -> Path | None:
    roots = (settings.resolved_datasets_dir, settings.downloaded_datasets_dir)
    folders = (root / sister for root in roots for sister in (name, *SISTERS))
    return next((archive for folder in folders if (archive := find(folder, ARCHIVES))), None)


def _download(name: str, packed: Sequence[str], settings: Settings) -> Path:
    from torchvision.datasets import EMNIST  # imports torch: only when there is something to download

    return download(
        name, [EMNIST.url], EMNIST.md5, f"gzip.zip, or {', '.join(packed)} (or the unpacked files),", settings
    )
