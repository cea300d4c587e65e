"""Read the images' classes from csv tables of files and labels."""

import csv
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from core.printable import JOINERS, first_invisible
from service.datasets.extraction import Entry
from service.datasets.layouts.class_folders import IMAGES, Sample, with_test
from service.datasets.layouts.parts import (
    FOLDS,
    UNDERSTOOD,
    UNDERSTOOD_FLAG,
    Part,
    part_of_cell,
    part_of_path,
    split_name,
)
from service.datasets.layouts.table_format import SUFFIXES, Table, cell, read_format
from service.datasets.validation_report import Code, ValidationReport

MAX_GROUP = 200  # characters of a group's name
SUBMISSION = "submission"  # Kaggle's sample of one names the test images, with labels that mean nothing


@dataclass(frozen=True)
class Row:
    where: str  # table and line
    table: PurePosixPath
    named: str  # the file
    label: str
    part: Part | None  # None: nothing says one yet
    group: str


def find_tables(entries: Sequence[Entry], report: ValidationReport) -> list[Table]:
    """Find the csv files that assign classes to images.

    If none does and there are no folders of classes, each csv file is an error; otherwise the others are reported as
    unused.
    """
    names = {name for entry in entries for name in (entry.path.name.lower(), entry.path.stem.lower())}
    files = [entry for entry in entries if entry.path.suffix.lower() in SUFFIXES]
    read = [(entry, _read(entry, names)) for entry in files]
    tables = [table for _, table in read if isinstance(table, Table)]
    refused = not tables and not _has_classes(entries)
    for entry, reason in read:
        if isinstance(reason, str):
            (report.refuse if refused else report.warn)(entry.path, "bad_table" if refused else "unused", reason)
    return tables


def by_table(tables: Sequence[Table], entries: Sequence[Entry], report: ValidationReport) -> list[Sample]:
    """Make a sample of every row that names a file.

    The part comes from a column, else from the table's name, else from the image's folder.
    """
    images = {entry.path: entry for entry in entries if entry.path.suffix.lower() not in SUFFIXES}
    find = _finder(images)
    samples: dict[PurePosixPath, Sample] = {}
    unsure: set[PurePosixPath] = set()  # of which no table says the part
    for table in tables:
        for row in _rows(table, len(tables) > 1, report):
            found = find(row)
            if problem := _problem(row, found, samples):
                report.warn(row.where, *problem)
                continue
            path = found[0].path
            samples[path] = Sample(row.part or part_of_path(path.parent) or "train", row.label, found[0], row.group)
            if row.part is None:
                unsure.add(path)
    for path in images.keys() - samples.keys():
        report.warn(path, "no_label", "No table names it.")
    return with_test(_one_part_is_training(samples, unsure))


def _has_classes(entries: Sequence[Entry]) -> bool:
    folders = {entry.path.parent.name for entry in entries if entry.path.suffix.lower() in IMAGES}
    return len(folders) > 1 and not all(split_name(name)[0] for name in folders)


def _read(entry: Entry, names: set[str]) -> Table | str:
    if SUBMISSION in entry.path.stem.lower():
        return "By its name it is a sample of a submission: its labels mean nothing."
    return read_format(entry, names)


def _rows(table: Table, one_of_many: bool, report: ValidationReport) -> Iterator[Row]:
    path, columns = table.entry.path, table.columns
    part = part_of_path(path) if one_of_many else None
    unknown: set[str] = set()
    try:
        for line, row in table.rows():
            where = f"{path} line {line}"
            if columns.part is not None:
                value = cell(row, columns.part)
                part = part_of_cell(value, columns.part_name)
                if part is None and value not in unknown:
                    unknown.add(value)
                    report.refuse(where, "unknown_split", _not_understood(value, columns.part_name))
            named = _nfc(cell(row, columns.file)).replace("\\", "/")
            group = "" if columns.group is None else _nfc(cell(row, columns.group))
            if _is_odd(group):
                report.refuse(where, "group_name", f"A group's name has at most {MAX_GROUP} visible characters.")
            yield Row(where, path, named, _nfc(cell(row, columns.label)), part, group)
    except (UnicodeError, csv.Error) as error:
        report.refuse(path, "bad_table", f"This is no table in UTF-8: {error}.")


def _not_understood(value: str, column: str) -> str:
    if column in FOLDS:
        return (
            f"The column {column} says {value!r}; which fold is the test, it does not say. Write train, val or test "
            "instead of numbers, or leave the column out: then a fifth of each class is the test."
        )
    understood = UNDERSTOOD_FLAG if column.startswith("is_") else UNDERSTOOD
    return f"The column {column} says {value!r}; understood is {understood}."


def _problem(row: Row, found: Sequence[Entry], samples: Mapping[PurePosixPath, Sample]) -> tuple[Code, str] | None:
    if not row.label:
        return "no_label", f"{row.named or 'The row'} has no label."
    if len(found) != 1:
        more = ": name the folder too" if found else ""
        return "missing_file", f"There are {len(found) or 'no'} files called {row.named}{more}."
    if found[0].path in samples:
        return "duplicate", f"{row.named} is named more than once; the first time counts."
    return None


def _finder(images: Mapping[PurePosixPath, Entry]) -> Callable[[Row], Sequence[Entry]]:
    """Make a function that finds the files which a row names.

    It searches by path, then by name in any case and without the suffix. Among several, files beside the table win.
    """
    by_name = defaultdict[str, list[Entry]](list)
    for image in images.values():
        for name in {image.path.name.lower(), image.path.stem.lower()}:
            by_name[name].append(image)

    def find(row: Row) -> Sequence[Entry]:
        own = images.get(row.table.parent / row.named) or images.get(PurePosixPath(row.named))
        if own:
            return [own]
        found = by_name.get(PurePosixPath(row.named).name.lower(), [])
        beside = _narrowed(found, lambda image: image.path.is_relative_to(row.table.parent))
        return _narrowed(beside, lambda image: part_of_path(image.path.parent) == row.part)

    return find


def _narrowed(found: Sequence[Entry], fits: Callable[[Entry], bool]) -> Sequence[Entry]:
    return found if len(found) < 2 else [image for image in found if fits(image)] or found


def _one_part_is_training(samples: Mapping[PurePosixPath, Sample], unsure: Iterable[PurePosixPath]) -> list[Sample]:
    """Count unsure samples as training if all name the same part.

    Folders that say the same of all images say nothing.
    """
    parts = {sample.part for sample in samples.values()}
    alone = dict.fromkeys(unsure) if len(parts) == 1 else {}
    return [replace(sample, part="train") if path in alone else sample for path, sample in samples.items()]


def _is_odd(group: str) -> bool:
    return len(group) > MAX_GROUP or bool(first_invisible(group, kept=JOINERS))


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())
