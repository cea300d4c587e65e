"""Photos with one folder per class: ``train/<class>/*`` beside ``val`` or ``test``, or classes alone.

If the classes are 0 to 9 and the images have MNIST's form, they are loaded as digits.

Photos are kept in memory if they fit into ``dataset_bytes``. Else each is decoded once, so that a bad file is reported
before the training starts, and then again in every epoch.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from core.errors import DatasetInvalid
from core.imaging.digits.mnist_format import DIGIT_SIDE
from core.imaging.preparation import PHOTO_SIDE
from core.settings import Settings
from worker.data import photo_files
from worker.data.datasets import digit_form
from worker.data.datasets.dataset import Dataset, Images
from worker.data.datasets.digit_form import are_digits, read_as_it_is, spread
from worker.data.photo_files import Photos

VALIDATION_PARTS = ("val", "valid", "validation")
TEST_PARTS = ("test", *VALIDATION_PARTS)  # the first that exists is the test split
TEST_SHARE = 0.2  # of each class, if there is no such folder
SPLIT_SEED = 0
NOT_DATA = ("__MACOSX", "Thumbs.db", "desktop.ini")
PROBLEMS_SHOWN = 20
BLOCK = 256  # photos that are checked at a time

T = TypeVar("T")
Labelled = list[tuple[Path, int]]


def load(name: str, settings: Settings) -> Dataset:
    """Load a folder of the data sets' directory; DatasetInvalid lists every unusable file."""
    root = settings.resolved_datasets_dir / name
    train_root = root / "train" if (root / "train").is_dir() else root
    test_root = _first(root, TEST_PARTS)
    validation_root = _first(root, VALIDATION_PARTS)
    parts = TEST_PARTS if train_root == root else ()  # below train, these names are classes
    classes = tuple(folder.name for folder in _entries(train_root) if folder.is_dir() and folder.name not in parts)
    if len(classes) < 2:
        raise DatasetInvalid(f"{name}: {train_root} holds {len(classes)} class folders; at least two are needed.")
    train, test = _files(train_root, classes), _files(test_root, classes) if test_root else []
    validation = _files(validation_root, classes) if validation_root and validation_root != test_root else []
    return of_parts(name, classes, train, validation, test, settings)


def of_parts(
    name: str, classes: Sequence[str], train: Labelled, validation: Labelled, test: Labelled, settings: Settings
) -> Dataset:
    """Load labelled files of each part; without a test part, a share of the training files is split off."""
    if not test:
        train, test = _split(train, len(classes))
    return of_files(name, classes, train + validation, test, settings, held_back=len(validation))


def _first(root: Path, parts: Sequence[str]) -> Path | None:
    return next((root / part for part in parts if (root / part).is_dir()), None)


def of_files(
    name: str, classes: Sequence[str], train: Labelled, test: Labelled, settings: Settings, held_back: int = 0
) -> Dataset:
    """Load labelled files as photos, or as digits if they have MNIST's form.

    The last ``held_back`` of ``train`` are the validation split. DatasetInvalid lists every unusable file.
    """
    paths = [str(path) for path, _ in train + test]
    digits = are_digits(
        classes, (read_as_it_is(paths[place], settings.max_image_pixels) for place in spread(len(paths)))
    )
    images = _load_digits(name, paths, settings) if digits else _load(name, paths, settings)
    labels = np.array([label for _, label in train + test], np.int64)
    return Dataset(
        name=name,
        style="digit" if digits else "photo",
        detail=DIGIT_SIDE if digits else PHOTO_SIDE,
        classes=tuple(classes),
        train_images=images[: len(train)],
        train_labels=labels[: len(train)],
        test_images=images[len(train) :],
        test_labels=labels[len(train) :],
        held_back=held_back,
    )


def _entries(folder: Path) -> list[Path]:
    """List a folder's entries in a fixed order, without those added by operating systems."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name not in NOT_DATA)


def _files(root: Path, classes: Sequence[str]) -> Labelled:
    """List every file of every class; DatasetInvalid for an empty class."""
    found: Labelled = []
    for label, name in enumerate(classes):
        files = _entries(root / name) if (root / name).is_dir() else []
        if not files:
            raise DatasetInvalid(f"{root / name} holds no images.")
        found += [(file, label) for file in files]
    return found


def _split(files: Labelled, classes: int) -> tuple[Labelled, Labelled]:
    """Split off a fixed share of each class as the test split."""
    test: Labelled = []
    for label in range(classes):
        own = [entry for entry in files if entry[1] == label]
        chosen = np.random.default_rng(SPLIT_SEED).permutation(len(own))[: max(1, round(TEST_SHARE * len(own)))]
        test += [own[index] for index in sorted(chosen)]
    held_back = set(test)
    return [entry for entry in files if entry not in held_back], test


def _load_digits(name: str, paths: Sequence[str], settings: Settings) -> Images:
    """Load digits, which fit into any memory."""
    return np.stack([*_each(name, paths, partial(digit_form.read, max_pixels=settings.max_image_pixels))])


def _load(name: str, paths: Sequence[str], settings: Settings) -> Images | Photos:
    """Load photos into memory or, if they are too large, the facts of each file."""
    if len(paths) * photo_files.BYTES > settings.dataset_bytes:
        return _examine_all(name, paths, settings)
    images = np.empty((len(paths), *photo_files.SHAPE), np.uint8)
    for index, image in enumerate(_each(name, paths, partial(photo_files.read, max_pixels=settings.max_image_pixels))):
        images[index] = image
    return images


def _examine_all(name: str, paths: Sequence[str], settings: Settings) -> Photos:
    facts = list(_each(name, paths, partial(photo_files.examine, max_pixels=settings.max_image_pixels)))
    return Photos(
        paths=np.array(paths, dtype=object),
        digests=np.stack([np.frombuffer(fact.digest, np.uint8) for fact in facts]),
        moments=np.stack([fact.moments for fact in facts]),
        max_pixels=settings.max_image_pixels,
        processes=settings.decode_processes,
    )


def _each(name: str, paths: Sequence[str], read: Callable[[str], T | str]) -> Iterator[T]:
    """Yield ``read``'s result for each file, in order; at the end, DatasetInvalid lists all problems."""
    problems: list[str] = []
    with ThreadPoolExecutor() as pool:  # decoding releases the GIL
        for start in range(0, len(paths), BLOCK):
            for found in pool.map(read, paths[start : start + BLOCK]):
                if isinstance(found, str):
                    problems.append(found)
                else:
                    yield found
    if problems:
        more = f" (and {len(problems) - PROBLEMS_SHOWN} more)" if len(problems) > PROBLEMS_SHOWN else ""
        raise DatasetInvalid(f"{name}: {'; '.join(problems[:PROBLEMS_SHOWN])}{more}")
