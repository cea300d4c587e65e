"""core.artifacts.zip_directory: it reads Python's names and believes nothing.

The names are those that Python's own reader reads.
"""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from core.artifacts.zip_directory import END_64, ENTRY, UNICODE_PATH, name_of, names
from core.errors import InvalidInput, TooLarge
from tests.support.batchfiles import zip_of

MOST = 2**24  # bytes of a directory
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
        assert list(names(path, MOST)) == archive.namelist()


def test_more_entries_than_sixteen_bits_can_count_are_all_named(path: Path) -> None:
    wanted = [f"{number}.png" for number in range(2**16 + 10)]
    with zipfile.ZipFile(path, "w") as archive:
        for name in wanted:
            archive.writestr(name, b"")
    assert END_64 in path.read_bytes()[-200:]
    assert list(names(path, MOST)) == wanted


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
        list(names(path, MOST))


def test_a_directory_longer_than_the_file_is_refused(path: Path) -> None:
    data = bytearray(zip_of(FILES))
    data[-10:-6] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match="not a zip"):
        list(names(path, MOST))


def test_a_long_directory_is_refused_before_it_is_read(path: Path) -> None:
    path.write_bytes(zip_of(FILES))
    length = sum(46 + len(name.encode()) for name in FILES)
    assert len(list(names(path, length))) == len(FILES)
    with pytest.raises(TooLarge, match="MAX_ZIP_DIRECTORY_BYTES"):
        next(names(path, length - 1))


@pytest.mark.parametrize(
    ("raw", "extra", "wanted"),
    [
        ("ü/猫.png".encode(), b"", ("ü/猫.png", True)),
        (b"?.png", "猫.png".encode(), ("猫.png", True)),
        ("é.png".encode("cp437"), "é.png".encode(), ("é.png", True)),
        (b"renamed.png", b"?.png\0of another name", ("renamed.png", True)),
        ("ü.png".encode("cp437"), b"", ("ü.png", False)),
        ("狗.png".encode("gbk"), b"", ("╣╖.png", False)),
        ("ねこ.png".encode("shift-jis"), b"", ("é╦é▒.png", False)),
    ],
    ids=["UTF-8", "Info-ZIP", "Info-ZIP on Windows", "renamed", "DOS", "GBK", "Shift-JIS"],
)
def test_both_readers_decode_a_name_alike_and_know_whether_it_is_a_guess(
    path: Path, raw: bytes, extra: bytes, wanted: tuple[str, bool]
) -> None:
    """Both zip readers decode a name alike.

    It is written as ASCII of the same length, then replaced: Python's writer would say how it is encoded.
    """
    entry = zipfile.ZipInfo("x" * len(raw))
    if extra:
        checksum = zlib.crc32(raw) ^ (raw == b"renamed.png")
        entry.extra = struct.pack("<2HBI", UNICODE_PATH, 5 + len(extra), 1, checksum) + extra
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, b"")
    path.write_bytes(path.read_bytes().replace(b"x" * len(raw), raw))
    with zipfile.ZipFile(path) as archive:
        assert name_of(archive.infolist()[0]) == wanted
    assert list(names(path, MOST)) == [wanted[0]]
