"""Which file is an image of which class, by a table: a csv with a header that names a column of files and one of
labels.
"""

import csv
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from service.datasets.class_folders import PARTS, Part, Sample, with_test
from service.datasets.extraction import Entry
from service.datasets.validation_report import ValidationReport

FILE_COLUMNS = ("filename", "file_name", "file", "filepath", "image", "image_path", "image_name", "path")
LABEL_COLUMNS = ("label", "class", "class_name", "category", "target")
PART_COLUMNS = ("split", "part", "subset", "set")
SUFFIXES = (".csv", ".tsv")
DELIMITERS = ",;\t"
MAX_LINE_LENGTH = 100_000  # characters
MAX_COLUMNS = 1000


@dataclass(frozen=True)
class Table:
    entry: Entry
    delimiter: str
    file: int  # the columns, counted from 0
    label: int
    part: int | None


def find_tables(entries: Sequence[Entry]) -> list[Table]:
    """Those of the csv files whose header names both columns."""
    files = [entry for entry in entries if entry.path.suffix.lower() in SUFFIXES]
    return [table for entry in files if (table := _read_header(entry))]


def by_table(tables: Sequence[Table], entries: Sequence[Entry], report: ValidationReport) -> list[Sample]:
    """Every row that names a file. The table's own name, or a column, says which part it is."""
    own = {table.entry.path for table in tables}
    images = {entry.path: entry for entry in entries if entry.path not in own}
    samples: dict[PurePosixPath, Sample] = {}
    for table in tables:
        try:
            _read_rows(table, len(tables) > 1, images, samples, report)
        except (UnicodeDecodeError, csv.Error) as error:
            report.refuse(table.entry.path, "bad_table", f"This is no table in UTF-8: {error}.")
    for path in images.keys() - samples.keys():
        report.warn(path, "no_label", "No table names it.")
    return with_test(list(samples.values()))


def _read_rows(
    table: Table,
    one_of_many: bool,
    images: Mapping[PurePosixPath, Entry],
    samples: dict[PurePosixPath, Sample],
    report: ValidationReport,
) -> None:
    by_name = defaultdict[str, list[Entry]](list)
    for image in images.values():
        by_name[image.path.name].append(image)
        by_name[image.path.stem].append(image)
    for number, named, label, part in _rows(table, one_of_many):
        own = images.get(table.entry.path.parent / named) or images.get(PurePosixPath(named))
        found = [own] if own else by_name.get(PurePosixPath(named).name, [])
        where = f"{table.entry.path} line {number}"
        if not label:
            report.warn(where, "no_label", f"{named or 'The row'} has no label.")
        elif len(found) != 1:
            more = ": name the folder too" if found else ""
            report.warn(where, "missing_file", f"There are {len(found) or 'no'} files called {named}{more}.")
        elif found[0].path in samples:
            report.warn(where, "duplicate", f"{named} is named more than once; the first time counts.")
        else:
            samples[found[0].path] = Sample(part, label, found[0])


def _read_header(entry: Entry) -> Table | None:
    with entry.file.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        line = file.readline(MAX_LINE_LENGTH)
    delimiter = max(DELIMITERS, key=line.count)
    columns = next(csv.reader([line], delimiter=delimiter), [])
    file_column, label_column = _column(columns, FILE_COLUMNS), _column(columns, LABEL_COLUMNS)
    if len(columns) > MAX_COLUMNS or file_column is None or label_column is None:
        return None
    return Table(entry, delimiter, file_column, label_column, _column(columns, PART_COLUMNS))


def _column(columns: Sequence[str], wanted: Sequence[str]) -> int | None:
    names = [column.strip().lower() for column in columns]
    return next((names.index(name) for name in wanted if name in names), None)


def _rows(table: Table, one_of_many: bool) -> Iterator[tuple[int, str, str, Part]]:
    """Line, file, label and part."""
    own = table.entry.path.stem if one_of_many else ""
    with table.entry.file.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_lines(file), delimiter=table.delimiter, strict=True)
        next(reader)  # the header
        for row in filter(None, reader):
            part = own if table.part is None else _cell(row, table.part)
            yield reader.line_num, _cell(row, table.file).replace("\\", "/"), _cell(row, table.label), _part(part)


def _lines(file: IO[str]) -> Iterator[str]:
    while line := file.readline(MAX_LINE_LENGTH + 1):
        if len(line) > MAX_LINE_LENGTH:
            raise csv.Error(f"a line has more than {MAX_LINE_LENGTH} characters")
        yield line


def _cell(row: Sequence[str], column: int) -> str:
    """A row may miss columns."""
    return _nfc(row[column]) if column < len(row) else ""


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _part(name: str) -> Part:
    return PARTS.get(name.lower(), "train")
