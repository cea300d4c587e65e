"""Which file is an image of which class, by a table: a csv with a header that names a column of files and one of
labels.
"""

import csv
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from service.datasets.class_folders import PARTS, Part, Sample, with_test
from service.datasets.extraction import Entry
from service.datasets.validation_report import ValidationReport

FILE_COLUMNS = ("filename", "file_name", "file", "filepath", "image", "image_path", "image_name", "path")
LABEL_COLUMNS = ("label", "class", "class_name", "category", "target")
PART_COLUMNS = ("split", "part", "subset", "set")
SUFFIXES = (".csv", ".tsv")
DELIMITERS = ",;\t"
MAX_HEADER_LENGTH = 10_000


@dataclass(frozen=True)
class Table:
    entry: Entry
    delimiter: str
    file: str  # the columns' names
    label: str
    part: str | None


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
        line = file.readline(MAX_HEADER_LENGTH)
    delimiter = max(DELIMITERS, key=line.count)
    columns = next(csv.reader([line], delimiter=delimiter), [])
    file_column, label_column = _column(columns, FILE_COLUMNS), _column(columns, LABEL_COLUMNS)
    if not file_column or not label_column:
        return None
    return Table(entry, delimiter, file_column, label_column, _column(columns, PART_COLUMNS))


def _column(columns: Sequence[str], wanted: Sequence[str]) -> str | None:
    return next((column for name in wanted for column in columns if column.strip().lower() == name), None)


def _rows(table: Table, one_of_many: bool) -> Iterator[tuple[int, str, str, Part]]:
    """Line, file, label and part."""
    own = table.entry.path.stem if one_of_many else ""
    with table.entry.file.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=table.delimiter, strict=True)
        for row in reader:
            part = (row.get(table.part) or "").strip() if table.part else own
            named = _nfc(row.get(table.file) or "").replace("\\", "/")
            yield reader.line_num, named, _nfc(row.get(table.label) or ""), _part(part)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _part(name: str) -> Part:
    return PARTS.get(name.lower(), "train")
