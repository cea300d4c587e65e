"""Find, check and unpack MNIST's four IDX files.

They are found under all of their names and checked by their headers.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.artifacts.dataset_files import StoredImage
from core.imaging.idx_format import FILES, header_bytes, shape_of
from core.settings import Settings
from service.datasets.duplicates import Occurrence, report_repeated
from service.datasets.extraction import Entry
from service.datasets.images import Counts
from service.datasets.layouts.parts import Part
from service.datasets.validation_report import ValidationReport

DIMENSIONS = {file: 3 if "images" in file else 1 for file in FILES}


def find(entries: Sequence[Entry]) -> dict[str, Entry]:
    """Find the four IDX files by canonical name.

    Kaggle's archive has each file twice, and writes a dot for the first hyphen before idx.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        name = entry.path.name.lower().replace(".idx", "-idx")
        if name in FILES:
            found.setdefault(name, entry)
    return found


def keep(
    found: Mapping[str, Entry], folder: Path, settings: Settings, report: ValidationReport
) -> tuple[Counts, list[StoredImage]]:
    """Keep the four files; return class counts and images."""
    for file in FILES:
        if file not in found:
            report.refuse(file, "missing_file", "The four files belong together.")
    shapes = {file: _shape(file, entry, settings, report) for file, entry in found.items()}
    report.check()
    train = _labels(shapes, found, FILES[0], FILES[1], report)
    test = _labels(shapes, found, FILES[2], FILES[3], report)
    if shapes[FILES[0]][1:] != shapes[FILES[2]][1:]:
        report.refuse(FILES[2], "damaged", "Its images are of another size than those of the training.")
    report.check()
    _compare_images(found, shapes, report)
    return _count(train, test, report), _place(found, folder)


def _shape(file: str, entry: Entry, settings: Settings, report: ValidationReport) -> tuple[int, ...]:
    dimensions, size = DIMENSIONS[file], entry.file.stat().st_size
    with entry.file.open("rb") as content:
        shape = shape_of(content.read(header_bytes(dimensions)), dimensions)
    if shape is None:
        report.refuse(entry.path, "damaged", f"It is no IDX file of bytes with {dimensions} dimensions.")
        return (0,) * dimensions
    wanted = header_bytes(dimensions) + int(np.prod(shape, dtype=object))
    if wanted != size or 0 in shape:
        report.refuse(entry.path, "truncated", f"By its header it has {wanted} bytes; it has {size}.")
    if dimensions == 3 and shape[1] * shape[2] > settings.max_image_pixels:
        report.refuse(entry.path, "too_large", f"Its images have more than {settings.max_image_pixels} pixels.")
    if shape[0] > settings.max_dataset_files:
        reason = f"It holds {shape[0]} images; TUNESERVE_MAX_DATASET_FILES allows {settings.max_dataset_files}."
        report.refuse(entry.path, "too_large", reason)
    return shape


def _labels(
    shapes: Mapping[str, tuple[int, ...]],
    found: Mapping[str, Entry],
    images: str,
    labels: str,
    report: ValidationReport,
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Count the images of each class."""
    if shapes[images][0] != shapes[labels][0]:
        reason = f"There are {shapes[images][0]} images and {shapes[labels][0]} labels."
        report.refuse(found[labels].path, "missing_file", reason)
    values = np.memmap(found[labels].file, np.uint8, "r", header_bytes(1))
    return np.bincount(values, minlength=256).astype(np.int64)


def _compare_images(
    found: Mapping[str, Entry], shapes: Mapping[str, tuple[int, ...]], report: ValidationReport
) -> None:
    """Report duplicate images; those with equal hashes are compared byte by byte."""
    parts: tuple[tuple[Part, str, str], ...] = (("train", FILES[0], FILES[1]), ("test", FILES[2], FILES[3]))
    images = [_values(found[name], shapes[name]).reshape(shapes[name][0], -1) for _, name, _ in parts]
    labels = [_values(found[name], shapes[name]) for _, _, name in parts]
    hashes = [np.fromiter((hash(row.tobytes()) for row in some), np.int64, len(some)) for some in images]
    _, first, group = np.unique(np.concatenate(hashes), return_index=True, return_inverse=True)
    firsts, in_train = first[group], len(images[0])

    def place(at: int) -> tuple[int, int]:
        return (0, at) if at < in_train else (1, at - in_train)

    def occurrence(part: int, index: int) -> Occurrence:
        name, file, _ = parts[part]
        return Occurrence(f"{found[file].path} image {index}, counted from 0", str(labels[part][index]), name)

    for at in np.flatnonzero(firsts != np.arange(len(firsts))).tolist():
        (part, index), (first_part, first_index) = place(at), place(int(firsts[at]))
        if np.array_equal(images[part][index], images[first_part][first_index]):
            report_repeated(occurrence(part, index), occurrence(first_part, first_index), report)


def _values(entry: Entry, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    return np.asarray(np.memmap(entry.file, np.uint8, "r", header_bytes(len(shape)), shape))


def _count(
    train: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    test: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    report: ValidationReport,
) -> Counts:
    """Count the labels of every class up to the highest."""
    classes = int(np.flatnonzero(train + test).max()) + 1
    counts = {str(label): {"train": int(train[label]), "test": int(test[label])} for label in range(classes)}
    if classes < 2:
        report.refuse("classes", "too_few_classes", "All labels are the same: at least two classes are needed.")
    for label, count in counts.items():
        if not count["train"]:
            report.warn(label, "empty_class", "No image of the training has this label.")
    return counts


def _place(found: Mapping[str, Entry], folder: Path) -> list[StoredImage]:
    placed = []
    for file in FILES:
        found[file].file.rename(folder / file)
        with (folder / file).open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        placed.append(StoredImage("", "", file, digest))
    return placed
