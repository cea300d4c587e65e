"""Detect a table's encoding, its delimiter and its columns.

The columns are those of files, labels and parts.
"""

import codecs
import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from service.datasets.extraction import Entry
from service.datasets.layouts.parts import FOLDS

# the first of each that is there counts; compared without case, space, - and _
FILE_COLUMNS = (
    *("filename", "file", "filepath", "image", "imagepath", "imagename", "imagefile", "path", "img", "imgname"),
    *("imagefilename", "imageid", "fileid", "id"),
)
LABEL_COLUMNS = ("label", "labels", "class", "classname", "classlabel", "category", "target")
PART_COLUMNS = (
    "split",
    "part",
    "subset",
    "set",
    "partition",
    "usage",
    "is_valid",
    "is_val",
    "is_test",
    "is_train",
    *FOLDS,
)
GROUP_COLUMNS = ("group", "groupid")
WANTED = "a header with a column called filename (file, path, image, image_id, id) and one called label (class, target)"
SUFFIXES = (".csv", ".tsv")
DELIMITERS = ",;\t|"
SEPARATOR_LINE = "sep="  # Excel's own first line
MAX_LINE_LENGTH = 100_000  # characters
MAX_COLUMNS = 1000
ENCODINGS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class Columns:
    file: int  # counted from 0
    label: int
    part: int | None = None
    part_name: str = ""  # in lower case
    group: int | None = None


@dataclass(frozen=True)
class Table:
    entry: Entry
    encoding: str
    delimiter: str
    columns: Columns
    skipped: int  # lines before the first row, the header among them

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row's last line number and its cells.

        Raise UnicodeError or csv.Error if the file is no such table.
        """
        with self.entry.file.open(encoding=self.encoding, newline="") as file:
            lines = _bounded(file)
            for _ in range(self.skipped):
                next(lines)
            reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
            for row in reader:
                if row:
                    yield self.skipped + reader.line_num, row


def read_format(entry: Entry, names: Collection[str]) -> Table | str:
    """Detect the format of a file from its first lines.

    ``names`` holds those of all images in lower case. A text is the reason why the file is no table.
    """
    encoding = _encoding(entry)
    try:
        with entry.file.open(encoding=encoding, errors="replace", newline="") as file:
            delimiter, first, skipped = _first_line(_bounded(file))
        delimiter = delimiter or max(DELIMITERS, key=first.count)
        cells = next(csv.reader([first], delimiter=delimiter), [])
    except (UnicodeError, csv.Error) as error:
        return f"It cannot be read: {error}."
    if len(cells) > MAX_COLUMNS:
        return f"It has more than {MAX_COLUMNS} columns."
    if columns := _named(cells):
        return Table(entry, encoding, delimiter, columns, skipped)
    if columns := _without_header(cells, names):
        return Table(entry, encoding, delimiter, columns, skipped - 1)
    found = ", ".join(cell.strip()[:30] for cell in cells[:10])
    return f"It needs {WANTED}; its first line says: {found or 'nothing'}."


def cell(row: Sequence[str], column: int) -> str:
    """Return a row's cell, "" if the row is too short."""
    return row[column].strip() if column < len(row) else ""


def _encoding(entry: Entry) -> str:
    with entry.file.open("rb") as file:
        start = file.read(4)
    if len(start) == 4 and start[1] == start[3] == 0:
        return "utf-16-le"
    if len(start) == 4 and start[0] == start[2] == 0:
        return "utf-16-be"
    return ENCODINGS.get(start[:2], "utf-8-sig")


def _bounded(file: IO[str]) -> Iterator[str]:
    while line := file.readline(MAX_LINE_LENGTH + 1):
        if len(line) > MAX_LINE_LENGTH:
            raise csv.Error(f"a line has more than {MAX_LINE_LENGTH} characters")
        yield line


def _first_line(lines: Iterator[str]) -> tuple[str | None, str, int]:
    """Find the delimiter that the file names and the first line.

    The last value is the number of that line.
    """
    delimiter = None
    for count, line in enumerate(lines, 1):
        text = line.strip("\r\n")
        if text.lower().startswith(SEPARATOR_LINE) and len(text) == len(SEPARATOR_LINE) + 1:
            delimiter = text[-1]
        elif text.strip():
            return delimiter, text, count
    return delimiter, "", 0


def _named(cells: Sequence[str]) -> Columns | None:
    names = [cell.strip().lower() for cell in cells]
    file, label = _place(names, FILE_COLUMNS), _place(names, LABEL_COLUMNS)
    if file is None or label is None:
        return None
    part = next((names.index(name) for name in PART_COLUMNS if name in names), None)
    return Columns(file, label, part, "" if part is None else names[part], _place(names, GROUP_COLUMNS))


def _place(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    plain = ["".join(name.split()).replace("_", "").replace("-", "") for name in names]
    return next((plain.index(name) for name in wanted if name in plain), None)


def _without_header(cells: Sequence[str], names: Collection[str]) -> Columns | None:
    """Choose the file column of two by its first cell.

    That cell is an image's name.
    """
    are_files = [PurePosixPath(cell.strip().replace("\\", "/")).name.lower() in names for cell in cells]
    if len(cells) != 2 or are_files.count(True) != 1:
        return None
    file = are_files.index(True)
    return Columns(file, 1 - file)
