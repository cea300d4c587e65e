"""Turn uploaded files into a folder that the trainer loads."""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from core.artifacts.dataset_files import StoredImage
from core.settings import Settings
from service.datasets import images
from service.datasets.extraction import Entry, Sent, unpack
from service.datasets.images import Counts
from service.datasets.layouts import idx_files as idx
from service.datasets.layouts.class_folders import Sample, by_folder, without_top
from service.datasets.layouts.csv_labels import by_table, find_tables
from service.datasets.layouts.parts import Part
from service.datasets.validation_report import Problem, ValidationReport

Layout = Literal["folders", "table", "idx"]
LIST = "images.jsonl"  # in the folder: an image a line, too many for the answer of a process


@dataclass(frozen=True)
class Addition:
    """Images that come to a data set which is there."""

    label: str | None  # of all of them; None: their folders or a table give it
    part: Part


@dataclass(frozen=True)
class Built:
    layout: Layout
    counts: Counts
    digest: str  # sha256, of names and bytes
    problems: list[Problem]  # warnings, the first of them
    problem_count: int
    group_pattern: str = ""


def build(sent: Sequence[Sent], folder: Path, settings: Settings, group_pattern: str = "") -> Built:
    """Fill the folder with the data set in the uploaded files.

    ``group_pattern``: how file names tell groups; "": they do not.
    Raise UnusableDataset with every problem, InvalidInput if a body is no archive, TooLarge if it is too large.
    """
    report, raw = ValidationReport(), folder / "raw"
    folder.mkdir()
    unpacked = without_top(unpack(sent, raw, settings, report))
    layout: Layout
    if idx_files := idx.find(unpacked.entries):
        layout, (counts, found) = "idx", idx.keep(idx_files, folder, settings, report)
        if group_pattern:
            report.refuse("group_pattern", "group_name", "The images of IDX files have no names: leave it out.")
    else:
        tables = find_tables(unpacked.entries, report)
        layout = "table" if tables else "folders"
        samples = by_table(tables, unpacked.entries, report) if tables else by_folder(unpacked, report)
        counts, found = images.keep(samples, folder, settings, report, group_pattern)
    report.check()
    shutil.rmtree(raw)
    _write_list(folder, found)
    return Built(layout, counts, images.digest_of(found), report.warnings, report.count, group_pattern)


def build_addition(sent: Sequence[Sent], folder: Path, settings: Settings, addition: Addition) -> Built:
    """Fill the folder with images that are added to a data set.

    They need not be a whole data set. Raise UnusableDataset when none can be read.
    """
    report, raw = ValidationReport(), folder / "raw"
    folder.mkdir()
    samples = _named(sent, addition) if addition.label is not None else _labelled(sent, raw, settings, report)
    counts, found = images.read(samples, folder, settings, report)
    if not found:
        report.refuse("images", "too_few_images", "There is no image that can be read.")
    report.check()
    shutil.rmtree(raw, ignore_errors=True)
    _write_list(folder, found)
    return Built("folders", counts, images.digest_of(found), report.warnings, report.count)


def _named(sent: Sequence[Sent], addition: Addition) -> list[Sample]:
    assert addition.label is not None
    entries = [Entry(PurePosixPath(PurePosixPath(one.name).name or "image"), one.file) for one in sent]
    return [Sample(addition.part, addition.label, entry) for entry in entries]


def _labelled(sent: Sequence[Sent], raw: Path, settings: Settings, report: ValidationReport) -> list[Sample]:
    unpacked = without_top(unpack(sent, raw, settings, report))
    tables = find_tables(unpacked.entries, report)
    return by_table(tables, unpacked.entries, report) if tables else by_folder(unpacked, report)


def read_list(folder: Path) -> list[StoredImage]:
    """Read which images ``build`` put into the folder."""
    with (folder / LIST).open(encoding="utf-8") as lines:
        return [StoredImage(*json.loads(line)) for line in lines]


def _write_list(folder: Path, found: Iterable[StoredImage]) -> None:
    with (folder / LIST).open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(astuple(image))}\n" for image in found)
