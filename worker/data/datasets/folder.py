"""Photos with one folder per class.

``train/<class>/*`` beside ``val`` or ``test``, or the class folders alone.

If the classes are 0 to 9 and the images have MNIST's form, they are loaded as digits.

Photos are kept in memory if they fit into ``dataset_bytes``. Else each is decoded once, so that a bad file is reported
before the training starts, and then again in every epoch.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from core.errors import DatasetInvalid
from core.imaging.digits.mnist_format import DIGIT_SIDE
from core.imaging.preparation import PHOTO_SIDE, Fit
from core.settings import Settings
from core.splitting.groups import SPLIT_SEED, TEST_SHARE, hold_back, undivided
from worker.data import photo_files
from worker.data.datasets import digit_form
from worker.data.datasets.dataset import Dataset, Images
from worker.data.datasets.digit_form import are_digits, read_as_it_is, spread
from worker.data.photo_files import Photo, PhotoForm, Photos

VALIDATION_PARTS = ("val", "valid", "validation")
TEST_PARTS = ("test", *VALIDATION_PARTS)  # the first that exists is the test split
NOT_DATA = ("__MACOSX", "Thumbs.db", "desktop.ini")
PROBLEMS_SHOWN = 20
BLOCK = 256  # photos that are checked at a time

MEASURED = 1_000  # training photos whose sizes choose the form

T = TypeVar("T")
Digests = npt.NDArray[np.uint8]  # n x 32
Style = Literal["plain", "photo"]
Sizes = Sequence[tuple[int, int]]  # width and height of some training photos, upright


class LabelledFile(NamedTuple):
    """A file of a class."""

    path: Path
    label: int
    number: int = 0  # of the image within an uploaded data set; 0: it has none
    group: str = ""  # images of one group stay in one part; "": it is in none


Labelled = list[LabelledFile]
Choose = Callable[[Sizes, Style], PhotoForm]


def default_form(_sizes: Sizes, _style: Style) -> PhotoForm:
    return PhotoForm()


def load(name: str, settings: Settings, choose: Choose = default_form, style: Style = "photo") -> Dataset:
    """Load a folder of the data sets' directory.

    DatasetInvalid lists every unusable file.
    """
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
    return of_parts(name, classes, train, validation, test, settings, choose, style)


def of_parts(
    name: str,
    classes: Sequence[str],
    train: Labelled,
    validation: Labelled,
    test: Labelled,
    settings: Settings,
    choose: Choose = default_form,
    style: Style = "photo",
) -> Dataset:
    """Load labelled files of training, validation and test split.

    Without test files, a share of the training files is split off.
    """
    if not test:
        train, test = _split(train, len(classes))
    return of_files(name, classes, train + validation, test, settings, choose, len(validation), style)


def _first(root: Path, parts: Sequence[str]) -> Path | None:
    return next((root / part for part in parts if (root / part).is_dir()), None)


def of_files(
    name: str,
    classes: Sequence[str],
    train: Labelled,
    test: Labelled,
    settings: Settings,
    choose: Choose = default_form,
    held_back: int = 0,
    style: Style = "photo",
) -> Dataset:
    """Load labelled files as photos, or as digits in MNIST's form.

    ``choose`` gives the photos' form. The last ``held_back`` of ``train`` are the validation split. DatasetInvalid
    lists every unusable file.
    """
    paths = [str(one.path) for one in train + test]
    samples = (read_as_it_is(paths[place], settings.max_image_pixels) for place in spread(len(paths)))
    loaded = (
        _Loaded(_load_digits(name, paths, settings), "digit", DIGIT_SIDE)
        if are_digits(classes, samples)
        else _load_photos(name, paths, len(train), settings, choose, style)
    )
    labels = np.array([one.label for one in train + test], np.int64)
    numbers = np.array([one.number for one in train], np.int64)
    return Dataset(
        name=name,
        style=loaded.style,
        detail=loaded.detail,
        classes=tuple(classes),
        train_images=loaded.images[: len(train)],
        train_labels=labels[: len(train)],
        test_images=loaded.images[len(train) :],
        test_labels=labels[len(train) :],
        held_back=held_back,
        file_digests=loaded.file_digests,
        train_numbers=numbers if numbers.all() else None,
        train_groups=tuple(one.group for one in train) if any(one.group for one in train) else None,
        image_fit=loaded.fit,
    )


class _Loaded(NamedTuple):
    images: Images | Photos
    style: Literal["digit"] | Style
    detail: int
    fit: Fit | None = None
    file_digests: Digests | None = None


def _load_photos(
    name: str, paths: Sequence[str], train: int, settings: Settings, choose: Choose, style: Style
) -> _Loaded:
    """Load photos in the form chosen by the sizes of the first ``train``."""
    sizes = _sizes(paths[:train], settings)
    form = choose(sizes, style)
    images, file_digests = _load(name, paths, form, settings)
    return _Loaded(images, style, detail_of(sizes, form.fit), form.fit, file_digests)


def detail_of(sizes: Sizes, fit: Fit) -> int:
    """Return the side up to which half of the photos have detail.

    In pixels, at least PHOTO_SIDE: the median of their sides.
    """
    sides = [max(size) if fit == "pad" else min(size) for size in sizes]
    return max(PHOTO_SIDE, int(np.median(sides))) if sides else PHOTO_SIDE


def _sizes(paths: Sequence[str], settings: Settings) -> Sizes:
    """Read the sizes of photos from all over the training split.

    Those without a header are left out; loading reports them.
    """
    chosen = [paths[place] for place in np.linspace(0, len(paths) - 1, min(MEASURED, len(paths))).astype(int)]
    with ThreadPoolExecutor() as pool:
        found = pool.map(partial(photo_files.size_of, max_pixels=settings.max_image_pixels), chosen)
    return [size for size in found if size is not None]


def _entries(folder: Path) -> list[Path]:
    """List a folder's entries in a fixed order.

    Those that operating systems add are left out.
    """
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name not in NOT_DATA)


def _files(root: Path, classes: Sequence[str]) -> Labelled:
    """List every file of every class; DatasetInvalid for an empty class."""
    found: Labelled = []
    for label, name in enumerate(classes):
        files = _entries(root / name) if (root / name).is_dir() else []
        if not files:
            raise DatasetInvalid(f"{root / name} holds no images.")
        found += [LabelledFile(file, label) for file in files]
    return found


def _split(files: Labelled, classes: int) -> tuple[Labelled, Labelled]:
    """Split off a fixed share of each class as the test split."""
    if any(entry.group for entry in files):
        return _split_groups(files)
    test: Labelled = []
    for label in range(classes):
        own = [entry for entry in files if entry.label == label]
        chosen = np.random.default_rng(SPLIT_SEED).permutation(len(own))[: max(1, round(TEST_SHARE * len(own)))]
        test += [own[index] for index in sorted(chosen)]
    held_back = set(test)
    return [entry for entry in files if entry not in held_back], test


def _split_groups(files: Labelled) -> tuple[Labelled, Labelled]:
    """Split off whole groups, with about that share of each class.

    DatasetInvalid if a class could not be tested then.
    """
    labels = [entry.label for entry in files]
    held = hold_back(labels, [entry.group for entry in files], TEST_SHARE, SPLIT_SEED)
    if undivided(labels, held):
        raise DatasetInvalid("The groups leave a class without images to test with: each class needs two groups.")
    return (
        [entry for entry, is_held in zip(files, held, strict=True) if not is_held],
        [entry for entry, is_held in zip(files, held, strict=True) if is_held],
    )


def _load_digits(name: str, paths: Sequence[str], settings: Settings) -> Images:
    """Load digits, which fit into any memory."""
    return np.stack([*_each(name, paths, partial(digit_form.read, max_pixels=settings.max_image_pixels))])


def _load(name: str, paths: Sequence[str], form: PhotoForm, settings: Settings) -> tuple[Images | Photos, Digests]:
    """Load photos into memory, or their facts if too large.

    Returns the files' digests too.
    """
    if len(paths) * form.nbytes > settings.dataset_bytes:
        return _examine_all(name, paths, form, settings)
    images, digests = np.empty((len(paths), *form.shape), np.uint8), np.empty((len(paths), 32), np.uint8)
    read: Callable[[str], Photo | str] = partial(photo_files.read, form=form, max_pixels=settings.max_image_pixels)
    for index, photo in enumerate(_each(name, paths, read)):
        images[index], digests[index] = photo.pixels, np.frombuffer(photo.digest, np.uint8)
    return images, digests


def _examine_all(name: str, paths: Sequence[str], form: PhotoForm, settings: Settings) -> tuple[Photos, Digests]:
    facts = list(_each(name, paths, partial(photo_files.examine, form=form, max_pixels=settings.max_image_pixels)))
    photos = Photos(
        paths=np.array(paths, dtype=object),
        moments=np.stack([fact.moments for fact in facts]),
        form=form,
        max_pixels=settings.max_image_pixels,
        processes=settings.decode_processes,
    )
    return photos, np.stack([np.frombuffer(fact.digest, np.uint8) for fact in facts])


def _each(name: str, paths: Sequence[str], read: Callable[[str], T | str]) -> Iterator[T]:
    """Yield ``read``'s result for each file, in order.

    At the end, DatasetInvalid lists all problems.
    """
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
