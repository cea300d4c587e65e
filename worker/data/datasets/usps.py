"""USPS: digits of 16x16 pixels from envelopes.

7,291 training and 2,007 test digits, as rows of text or in libsvm's format.
"""

import bz2
import gzip
import zlib
from pathlib import Path

import numpy as np

from core.errors import DatasetInvalid
from core.imaging.digits.mnist_format import centre_in_frame
from core.settings import Settings
from worker.data.datasets.dataset import Dataset, Images, Labels
from worker.data.sources import download, find

SIDE = 16
ROWS = {"train": ("usps_zip.train.gz", "zip.train.gz"), "test": ("usps_zip.test.gz", "zip.test.gz")}
LIBSVM = {"train": "usps.bz2", "test": "usps.t.bz2"}


def load(settings: Settings) -> Dataset:
    folder = settings.resolved_datasets_dir / "usps"
    train_images, train_labels = _part(folder, "train", settings)
    test_images, test_labels = _part(folder, "test", settings)
    return Dataset(
        name="usps",
        style="digit",
        detail=SIDE,
        classes=tuple(str(digit) for digit in range(10)),
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )


def _part(folder: Path, part: str, settings: Settings) -> tuple[Images, Labels]:
    path = find(folder, (*ROWS[part], LIBSVM[part])) or _download(part, settings)
    try:
        values = _read_libsvm(path) if path.name == LIBSVM[part] else _read_rows(path)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DatasetInvalid(f"{path} cannot be read: {error}.") from error
    if values.ndim != 2 or values.shape[1] != 1 + SIDE * SIDE:
        raise DatasetInvalid(f"{path} should hold a label and {SIDE * SIDE} values in each row.")
    ink = (values[:, 1:].reshape(-1, SIDE, SIDE) + 1) / 2  # from -1..1
    return np.stack([centre_in_frame(image) for image in ink]), values[:, 0].astype(np.int64)


def _read_rows(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Read rows of a label and 256 values."""
    return np.array([row.split() for row in gzip.decompress(path.read_bytes()).splitlines()], np.float64)


def _read_libsvm(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Read libsvm's format, ``label+1 1:value 2:value ...``, which torchvision downloads."""
    rows = [row.split() for row in bz2.decompress(path.read_bytes()).splitlines()]
    values = [[float(row[0]) - 1, *(float(entry.split(b":")[1]) for entry in row[1:])] for row in rows]
    return np.array(values, np.float64)


def _download(part: str, settings: Settings) -> Path:
    from torchvision.datasets import USPS  # imports torch: only when there is something to download

    url, _, md5 = USPS.split_list[part]
    wanted = f"{ROWS['train'][0]} and {ROWS['test'][0]}, or {' and '.join(LIBSVM.values())},"
    return download("usps", [url], md5, wanted, settings)
