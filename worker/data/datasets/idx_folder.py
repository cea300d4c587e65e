"""User data sets of grey images in MNIST's four files.

Class names are numbers.
"""

from collections.abc import Sequence
from pathlib import Path

from core.errors import DatasetInvalid
from core.imaging.idx_format import FILES
from core.settings import Settings
from worker.data.datasets.dataset import Dataset
from worker.data.datasets.digit_form import are_digits, spread
from worker.data.formats.idx_files import find_idx, read_images, read_labels


def is_one(name: str, settings: Settings) -> bool:
    return find_idx(settings.resolved_datasets_dir / name, name, FILES[0]) is not None


def load(name: str, settings: Settings) -> Dataset:
    """Load the four files of a user's data set.

    The style is ``digit`` if they hold digits, else ``plain``.
    """
    root = settings.resolved_datasets_dir / name
    return of_files(name, [_find(root, file) for file in FILES])


def of_files(name: str, files: Sequence[Path]) -> Dataset:
    """Load the four files, in the order of ``FILES``."""
    train_images, train_labels, test_images, test_labels = files
    images, labels = read_images(train_images), read_labels(train_labels)
    classes = tuple(str(label) for label in range(int(labels.max(initial=0)) + 1))
    return Dataset(
        name=name,
        style="digit" if are_digits(classes, images[spread(len(images))]) else "plain",
        detail=max(images.shape[1:3]),
        classes=classes,
        train_images=images,
        train_labels=labels,
        test_images=read_images(test_images),
        test_labels=read_labels(test_labels),
    )


def _find(root: Path, file: str) -> Path:
    path = find_idx(root, root.name, file)
    if path is None:
        raise DatasetInvalid(f"{root} holds no {file}, which belongs to {FILES[0]}.")
    return path
