"""QMNIST: MNIST rebuilt from NIST's forms, with 60,000 test digits.

Source: Yadav and Bottou 2019.
"""

from pathlib import Path

import numpy as np

from core.errors import DatasetInvalid
from core.settings import Settings
from worker.data.datasets.dataset import Dataset, Labels
from worker.data.datasets.mnist import DIGITS
from worker.data.formats.idx_files import find_idx, read_idx_int32, read_images
from worker.data.sources import download

FILES = (
    "qmnist-train-images-idx3-ubyte",
    "qmnist-train-labels-idx2-int",
    "qmnist-test-images-idx3-ubyte",
    "qmnist-test-labels-idx2-int",
)
COLUMNS = 8  # of a label: the class, then the writer and the position in NIST's collection


def load(settings: Settings) -> Dataset:
    train_images, train_labels, test_images, test_labels = (_path(file, settings) for file in FILES)
    return Dataset(
        name="qmnist",
        style="digit",
        detail=28,
        classes=DIGITS,
        train_images=read_images(train_images),
        train_labels=_read_classes(train_labels),
        test_images=read_images(test_images),
        test_labels=_read_classes(test_labels),
    )


def _read_classes(path: Path) -> Labels:
    rows = read_idx_int32(path, 2)
    if rows.shape[1] != COLUMNS:
        raise DatasetInvalid(f"{path} should hold {COLUMNS} numbers for each image and holds {rows.shape[1]}.")
    return rows[:, 0].astype(np.int64)


def _path(file: str, settings: Settings) -> Path:
    folder = settings.resolved_datasets_dir / "qmnist"
    return find_idx(folder, "QMNIST", file) or _download(f"{file}.gz", settings)


def _download(file: str, settings: Settings) -> Path:
    from torchvision.datasets import QMNIST  # imports torch: only when there is something to download

    files = [entry for part in ("train", "test") for entry in QMNIST.resources[part]]
    url, md5 = next(entry for entry in files if entry[0].endswith(f"/{file}"))
    wanted = f"{', '.join(f'{file}.gz' for file in FILES)} (or the unpacked files)"
    return download("qmnist", [url], md5, wanted, settings)
