"""SVHN: house numbers cropped to single digits, 32x32 in colour.

Source: Netzer et al. 2011.
"""

from pathlib import Path

import numpy as np

from core.errors import DatasetInvalid
from core.settings import Settings
from worker.data.datasets.dataset import Dataset, Images, Labels
from worker.data.datasets.mnist import DIGITS
from worker.data.formats.mat_files import read_matlab
from worker.data.sources import download, find

SIDE = 32
FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
ZERO = 10  # the label of the digit 0


def load(settings: Settings) -> Dataset:
    """Load SVHN with the style ``plain``.

    Its colours and neighbouring digits do not suit MNIST's form.
    """
    train_images, train_labels = _part("train", settings)
    test_images, test_labels = _part("test", settings)
    return Dataset(
        name="svhn",
        style="plain",
        detail=SIDE,
        classes=DIGITS,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )


def _part(part: str, settings: Settings) -> tuple[Images, Labels]:
    path = find(settings.resolved_datasets_dir / "svhn", [FILES[part]]) or _download(part, settings)
    arrays = read_matlab(path)
    if not {"X", "y"} <= arrays.keys():
        raise DatasetInvalid(f"{path} should hold arrays X and y and holds {', '.join(arrays) or 'none'}.")
    images, labels = arrays["X"], arrays["y"].ravel().astype(np.int64)
    if images.dtype != np.uint8 or images.shape != (SIDE, SIDE, 3, len(labels)):
        raise DatasetInvalid(
            f"{path} should hold X of {SIDE}x{SIDE}x3 bytes for each of its {len(labels)} labels; "
            f"X is {images.dtype} of {'x'.join(map(str, images.shape))}."
        )
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), np.where(labels == ZERO, 0, labels)


def _download(part: str, settings: Settings) -> Path:
    from torchvision.datasets import SVHN  # imports torch: only when there is something to download

    url, _, md5 = SVHN.split_list[part]
    return download("svhn", [url], md5, " and ".join(FILES.values()), settings)
