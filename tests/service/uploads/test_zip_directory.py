"""service.uploads.zip_directory: it reads the names that Python's own reader reads, and believes nothing."""

import io
import struct
import zipfile
from pathlib import Path

import pytest

from core.errors import InvalidInput
from service.uploads.zip_directory import END_64, ENTRY, names
from tests.support.batchfiles import zip_of

FILES = {"a/7.png": b"7" * 500, "ü.png": b"1", "photos/": b"", "b" * 300: b"2"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sent.zip"


def with_comment(data: bytes, comment: bytes) -> bytes:
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = comment
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        zip_of(FILES),
        zip_of({}),
        with_comment(zip_of(FILES), b"made on a holiday"),
        with_comment(zip_of(FILES), b"x" * 65_535),
        b"#!/bin/sh\nexec unzip $0\n" + zip_of(FILES),
    ],
    ids=["plain", "empty", "comment", "longest comment", "behind a script"],
)
def test_the_names_are_those_of_pythons_reader(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert list(names(path)) == archive.namelist()


def test_more_entries_than_sixteen_bits_can_count_are_all_named(path: Path) -> None:
    wanted = [f"{number}.png" for number in range(2**16 + 10)]
    with zipfile.ZipFile(path, "w") as archive:
        for name in wanted:
            archive.writestr(name, b"")
    assert END_64 in path.read_bytes()[-200:]
    assert list(names(path)) == wanted


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"this is no zip",
        b"PK\x03\x04" + bytes(100),
        zip_of(FILES)[:-30],
        zip_of(FILES).replace(ENTRY, b"PK??"),
    ],
    ids=["empty", "two bytes", "text", "a start alone", "no end", "no entries"],
)
def test_what_is_no_zip_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match="not a zip"):
        list(names(path))


def test_a_directory_longer_than_the_file_is_refused(path: Path) -> None:
    data = bytearray(zip_of(FILES))
    data[-10:-6] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match="not a zip"):
        list(names(path))
