"""Which file is an image of which class, by its folder."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from service.datasets.extraction import Entry, Unpacked
from service.datasets.validation_report import ValidationReport

Part = Literal["train", "test", "val"]
TRAIN_PARTS = ("train", "training")
TEST_PARTS = ("test", "testing")
VALIDATION_PARTS = ("val", "valid", "validation")  # the test part where there is no other
PARTS: Mapping[str, Part] = {
    **dict.fromkeys(TRAIN_PARTS, "train"),
    **dict.fromkeys(TEST_PARTS, "test"),
    **dict.fromkeys(VALIDATION_PARTS, "val"),
}
IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Sample:
    part: Part
    label: str  # the class
    entry: Entry


def without_top(unpacked: Unpacked) -> Unpacked:
    """Without the folders around everything that people zip along. What lies beside them keeps its path."""
    top = _top([entry.path for entry in unpacked.entries])
    return Unpacked(
        [Entry(_below(entry.path, top), entry.file) for entry in unpacked.entries],
        [_below(folder, top) for folder in unpacked.folders],
    )


def _below(path: PurePosixPath, top: PurePosixPath) -> PurePosixPath:
    return path.relative_to(top) if path.is_relative_to(top) else path


def _top(paths: Sequence[PurePosixPath]) -> PurePosixPath:
    """The folder that holds all images, two levels below it or more."""
    images = [path for path in paths if path.suffix.lower() in IMAGES] or paths
    depth = 0
    while (
        any(len(path.parts) >= depth + 3 for path in images)
        and len({path.parts[: depth + 1] for path in images}) == 1
        and images[0].parts[depth].lower() not in PARTS
    ):
        depth += 1
    return PurePosixPath(*images[0].parts[:depth]) if images else PurePosixPath()


def by_folder(unpacked: Unpacked, report: ValidationReport) -> list[Sample]:
    """``train/<class>/*`` with ``test``, ``val`` or both beside it, or the classes alone."""
    parts = _parts({_split(entry.path)[0] for entry in unpacked.entries})
    samples = []
    for entry in unpacked.entries:
        folder, inside = _split(entry.path)
        if folder not in parts:
            report.warn(entry.path, "unused", f"It lies beside the folders that count: {', '.join(parts)}.")
        elif len(inside) < 2:
            report.warn(entry.path, "unused", "It lies in no class's folder.")
        else:
            samples.append(Sample(parts[folder], inside[0], entry))
    _name_empty(unpacked.folders, parts, {(sample.part, sample.label) for sample in samples}, report)
    return with_test(samples)


def with_test(samples: Sequence[Sample]) -> list[Sample]:
    """A validation part is the test part where there is no other, as the trainer has it."""
    if any(sample.part == "test" for sample in samples):
        return list(samples)
    return [replace(sample, part="test") if sample.part == "val" else sample for sample in samples]


def _parts(folders: Collection[str]) -> dict[str, Part]:
    """What each folder at the top is for; "": what lies in none of them."""
    of_each = (next((name for name in names if name in folders), None) for names in (TEST_PARTS, VALIDATION_PARTS))
    train = next((name for name in TRAIN_PARTS if name in folders), "")
    return {train: "train", **{name: PARTS[name] for name in of_each if name}}


def _split(path: PurePosixPath) -> tuple[str, tuple[str, ...]]:
    """The part's folder, if it lies in one, and the rest. A class of its own may be called like one."""
    first = path.parts[0].lower()
    if len(path.parts) >= 3 and first in PARTS:
        return first, path.parts[1:]
    return "", path.parts


def _name_empty(
    folders: Collection[PurePosixPath],
    parts: Mapping[str, Part],
    found: Collection[tuple[Part, str]],
    report: ValidationReport,
) -> None:
    for path in folders:
        folder, inside = _split(path / "file")
        is_class = len(inside) == 2 and folder in parts and inside[0].lower() not in parts
        if is_class and (parts[folder], inside[0]) not in found:
            report.warn(path, "empty_class", "The folder holds no file, so there is no such class.")
