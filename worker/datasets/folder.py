"""Photos in a folder for each class: ``train/<class>/*`` with ``val`` or ``test`` beside it, or the classes alone."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from core.errors import DatasetInvalid, InvalidInput
from core.images import PHOTO_SIDE, Pixels, decode, fit_photo
from core.settings import Settings
from worker.datasets.dataset import Dataset

TEST_PARTS = ("test", "val", "valid", "validation")  # the first that is there is the test part
TEST_SHARE = 0.2  # of each class, where there is no such part
SPLIT_SEED = 0
NOT_DATA = ("__MACOSX", "Thumbs.db", "desktop.ini")
PROBLEMS_SHOWN = 20
DECODERS = 8

Labelled = list[tuple[Path, int]]


def load(name: str, settings: Settings) -> Dataset:
    """The folder of that name in the data sets' directory. DatasetInvalid names every file that cannot be used."""
    root = settings.resolved_datasets_dir / name
    train_root = root / "train" if (root / "train").is_dir() else root
    test_root = next((root / part for part in TEST_PARTS if (root / part).is_dir()), None)
    classes = tuple(folder.name for folder in _entries(train_root) if folder.is_dir() and folder.name not in TEST_PARTS)
    if len(classes) < 2:
        raise DatasetInvalid(f"{name}: {train_root} holds {len(classes)} class folders; at least two are needed.")
    train, test = _files(train_root, classes), _files(test_root, classes) if test_root else []
    if not test_root:
        train, test = _split(train, len(classes))
    _check_size(name, len(train) + len(test), settings)
    images = _decode_all(name, [path for path, _ in train + test], settings.max_image_pixels)
    labels = np.array([label for _, label in train + test], np.int64)
    return Dataset(
        name=name,
        style="photo",
        detail=PHOTO_SIDE,
        classes=classes,
        train_images=images[: len(train)],
        train_labels=labels[: len(train)],
        test_images=images[len(train) :],
        test_labels=labels[len(train) :],
    )


def _entries(folder: Path) -> list[Path]:
    """What people put there, in a fixed order; without what their systems put there."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name not in NOT_DATA)


def _files(root: Path, classes: Sequence[str]) -> Labelled:
    """Every file of every class; an empty class is a problem."""
    found: Labelled = []
    for label, name in enumerate(classes):
        files = _entries(root / name) if (root / name).is_dir() else []
        if not files:
            raise DatasetInvalid(f"{root / name} holds no images.")
        found += [(file, label) for file in files]
    return found


def _split(files: Labelled, classes: int) -> tuple[Labelled, Labelled]:
    """A share of each class for the test, the same ones each time."""
    test: Labelled = []
    for label in range(classes):
        own = [entry for entry in files if entry[1] == label]
        chosen = np.random.default_rng(SPLIT_SEED).permutation(len(own))[: max(1, round(TEST_SHARE * len(own)))]
        test += [own[index] for index in sorted(chosen)]
    return [entry for entry in files if entry not in test], test


def _check_size(name: str, count: int, settings: Settings) -> None:
    needed = count * PHOTO_SIDE * PHOTO_SIDE * 3
    if needed > settings.dataset_bytes:
        raise DatasetInvalid(
            f"{name}: {count} images need {needed} bytes in memory, and TUNESERVE_DATASET_BYTES is "
            f"{settings.dataset_bytes}.",
            hint="Raise TUNESERVE_DATASET_BYTES if the machine has the memory, or take fewer images.",
        )


def _decode_all(name: str, paths: Sequence[Path], max_pixels: int) -> Pixels:
    def read(path: Path) -> Pixels | str:
        try:
            return fit_photo(decode(path.read_bytes(), max_pixels))
        except (InvalidInput, OSError) as error:
            return f"{path}: {error}"

    with ThreadPoolExecutor(DECODERS) as pool:
        read_ones = list(pool.map(read, paths))
    problems = [entry for entry in read_ones if isinstance(entry, str)]
    if problems:
        more = f" (and {len(problems) - PROBLEMS_SHOWN} more)" if len(problems) > PROBLEMS_SHOWN else ""
        raise DatasetInvalid(f"{name}: {'; '.join(problems[:PROBLEMS_SHOWN])}{more}")
    return np.stack([entry for entry in read_ones if not isinstance(entry, str)])
