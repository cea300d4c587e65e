"""Read each image's class and part from its folders."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from service.datasets.extraction import Entry, Unpacked
from service.datasets.layouts.parts import NEUTRAL, PARTS, WORDS, Part, split_name
from service.datasets.layouts.table_format import SUFFIXES
from service.datasets.validation_report import ValidationReport

IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
MAX_NAMED = 3  # folders in a sentence
Folders = Mapping[str, Part]  # at the top, in lower case; "": what lies in none of them


@dataclass(frozen=True)
class Sample:
    part: Part
    label: str  # the class
    entry: Entry
    group: str = ""  # images of one group stay in one part; "": it is in none


def without_top(unpacked: Unpacked) -> Unpacked:
    """Drop the outer folders that wrap the whole data set.

    People zip them along. Files beside them keep their paths.
    """
    top = _top([entry.path for entry in unpacked.entries])
    return Unpacked(
        [Entry(_below(entry.path, top), entry.file) for entry in unpacked.entries],
        [_below(folder, top) for folder in unpacked.folders],
    )


def _below(path: PurePosixPath, top: PurePosixPath) -> PurePosixPath:
    return path.relative_to(top) if path.is_relative_to(top) else path


def _top(paths: Sequence[PurePosixPath]) -> PurePosixPath:
    """Find the folder that holds all images, two or more levels down."""
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
    """Make a sample of every image in a class folder.

    The layout is ``train/<class>/*`` with ``test``, ``val`` or both beside it, or the classes alone.
    """
    folders = _part_folders(unpacked.entries)
    parts = _chosen(folders)
    samples, below = [], defaultdict[str, set[str]](set)
    for entry in unpacked.entries:
        if entry.path.suffix.lower() in SUFFIXES:
            continue  # a table, which was looked at before
        folder, inside = _split(entry.path, folders)
        if folder not in parts:
            report.warn(entry.path, "unused", f"It lies beside the folders that count: {', '.join(parts)}.")
        elif len(inside) < 2:
            report.warn(entry.path, "unused", "It lies in no class's folder.")
        else:
            samples.append(Sample(parts[folder], inside[0], entry))
            below[inside[0]].add(inside[1] if len(inside) > 2 else "")
    _name_empty(unpacked.folders, folders, parts, {(sample.part, sample.label) for sample in samples}, report)
    _name_same_subfolders(below, report)
    return with_test(samples)


def with_test(samples: Sequence[Sample]) -> list[Sample]:
    """Use the validation part as the test part if there is none.

    The trainer does the same.
    """
    if any(sample.part == "test" for sample in samples):
        return list(samples)
    return [replace(sample, part="test") if sample.part == "val" else sample for sample in samples]


def _part_folders(entries: Sequence[Entry]) -> Folders:
    """Find the top-level folders that name a part and hold folders.

    ``train``, ``val`` and ``test`` do so alone; ``dev``, ``test_set`` or ``seg_test`` only beside one that trains, and
    where what else they say means nothing (``set``) or is said by another part's folder too (``seg``).
    """
    tops = {entry.path.parts[0].lower(): entry.path.parts[0] for entry in entries if len(entry.path.parts) >= 3}
    said = {lower: split_name(name) for lower, name in tops.items()}
    others = {(part, words) for part, words in said.values() if part}
    found = {
        name: part
        for name, (part, words) in said.items()
        if part and (words <= NEUTRAL or any(words == more and part != other for other, more in others))
    }
    if "train" in found.values():
        return found
    return {name: PARTS[name] for name in found if name in PARTS}


def _chosen(folders: Folders) -> Folders:
    """Choose one folder for each part.

    The first in the order of ``WORDS`` wins, so plain names come before the others.
    """
    order = {word: place for place, word in enumerate(WORDS)}
    chosen: dict[Part, str] = {}
    for name in sorted(folders, key=lambda name: (order.get(name, len(order)), name)):
        chosen.setdefault(folders[name], name)
    parts: tuple[Part, ...] = ("train", "test", "val")
    return {chosen.get(part, ""): part for part in parts if part in chosen or part == "train"}


def _split(path: PurePosixPath, folders: Folders) -> tuple[str, tuple[str, ...]]:
    """Split a path into its part's folder and the rest.

    The folder is "" for a file outside the parts: a class may be called like a part. Some archives hold such a folder
    twice: ``training_set/training_set/cats``.
    """
    first, inside = path.parts[0].lower(), path.parts[1:]
    if len(path.parts) < 3 or first not in folders:
        return "", path.parts
    while len(inside) >= 3 and inside[0].lower() == first:
        inside = inside[1:]
    return first, inside


def _name_empty(
    paths: Collection[PurePosixPath],
    folders: Folders,
    parts: Folders,
    found: Collection[tuple[Part, str]],
    report: ValidationReport,
) -> None:
    for path in paths:
        folder, inside = _split(path / "file", folders)
        is_class = len(inside) == 2 and folder in parts and inside[0].lower() not in (*folders, *PARTS)
        if is_class and (parts[folder], inside[0]) not in found:
            report.warn(path, "empty_class", "The folder holds no file, so there is no such class.")


def _name_same_subfolders(below: Mapping[str, set[str]], report: ValidationReport) -> None:
    """Warn if all classes hold the same subfolders.

    Such folders may be the real classes, and what was taken for classes parts, cameras or years.
    """
    first = next(iter(below.values()), set[str]())
    if len(below) > 1 and len(first) > 1 and "" not in first and all(folders == first for folders in below.values()):
        classes, inside = (", ".join(sorted(names)[:MAX_NAMED]) for names in (below, first))
        reason = f"The classes ({classes}) all hold the same folders ({inside}). If those are the classes, "
        report.warn("classes", "same_folders", f"{reason}put train, val and test above them, or nothing.")
