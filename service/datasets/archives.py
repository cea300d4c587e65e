"""Read the members of an uploaded zip or tar file.

Any other file counts as its only member.
"""

import gzip
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, cast

from core.artifacts import zip_directory
from core.errors import InvalidInput, TooLarge
from core.settings import Settings
from service.datasets.tar_headers import PASSED_OVER, BoundBroken, open_tar
from service.datasets.validation_report import Code

GZIP_START = b"\x1f\x8b"
GZIP_SUFFIX = ".gz"
ENCRYPTED = 0x1  # an entry's flag
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others may take any memory to unpack
# what the libraries raise for bytes that are not theirs
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)

Trouble = tuple[Code, str]
NO_FILE: Trouble = ("not_a_file", "It is a link or a device, and no file.")
Open = Callable[[], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True)
class Member:
    name: str
    kind: Literal["file", "folder"]
    open: Open  # before the next member is read
    size: int = 0  # bytes, as the archive says
    trouble: Trouble | None = None  # why it cannot be opened
    name_is_known: bool = True  # False: its encoding is not, so that it may be garbled


def members_of(name: str, file: Path, settings: Settings) -> Iterator[Member]:
    """List the members of an uploaded file: zip, tar or plain.

    Raise InvalidInput if the body has no name and is no archive, TooLarge if a zip names too many files.
    """
    with file.open("rb") as content:
        start = content.read(4)
    if start in zip_directory.STARTS:
        return _in_zip(file, settings)
    if _is_tar(file, start):
        return _in_tar(file, start)
    if not name:
        raise InvalidInput("The body is neither a zip nor a tar: send one, or a form with `-F file=@...`.")
    return iter([_member(name, partial(_open, file), file.stat().st_size)])


def _open(file: Path) -> IO[bytes]:
    return file.open("rb")


def _in_zip(file: Path, settings: Settings) -> Iterator[Member]:
    for count, _ in enumerate(zip_directory.names(file, settings.max_zip_directory_bytes), 1):
        if count > settings.max_dataset_files:
            raise TooLarge("There are more files than TUNESERVE_MAX_DATASET_FILES allows.")
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            (name, is_known), opened = zip_directory.name_of(info), partial(archive.open, info)
            if name.endswith("/"):
                yield Member(name, "folder", opened, name_is_known=is_known)
            else:
                yield replace(_member(name, opened, info.file_size, _trouble(info)), name_is_known=is_known)


def _trouble(info: zipfile.ZipInfo) -> Trouble | None:
    if info.flag_bits & ENCRYPTED:
        return "encrypted", "It is encrypted: send it without a password."
    if info.compress_type not in METHODS:
        return "damaged", "It is packed in an uncommon way: pack it with deflate, or not at all."
    return None


def _is_tar(file: Path, start: bytes) -> bool:
    try:
        with _tar(file, start):
            return True
    except BoundBroken:
        return True  # to be reported with its reason
    except DAMAGE:
        return False


def _in_tar(file: Path, start: bytes) -> Iterator[Member]:
    with _tar(file, start) as archive:
        while info := archive.next():
            cast(Any, archive).members.clear()  # it keeps them all, and there may be a million
            if info.type != PASSED_OVER:
                yield _tar_member(archive, info)


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    if info.size < 0:  # a pax header says so
        raise tarfile.ReadError("a size is negative")
    name = info.name.encode(errors="surrogateescape").decode(errors="replace")
    opened = partial(_extract, archive, info)
    if info.isdir():
        return Member(name, "folder", opened)
    return _member(name, opened, info.size, None if info.isfile() else NO_FILE)


@contextmanager
def _tar(file: Path, start: bytes) -> Iterator[tarfile.TarFile]:
    with _stream(file, start) as stream, open_tar(stream) as archive:
        yield archive


def _stream(file: Path, start: bytes) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(file)) if start.startswith(GZIP_START) else file.open("rb")


def _extract(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(info)
    assert content is not None  # a file
    return content


def _member(name: str, opened: Open, size: int, trouble: Trouble | None = None) -> Member:
    """Wrap one file as a member, unpacked if it is gzipped.

    MNIST's four files come gzipped.
    """
    if name.lower().endswith(GZIP_SUFFIX):
        return Member(name[: -len(GZIP_SUFFIX)], "file", partial(_unzipped, opened), size, trouble)
    return Member(name, "file", opened, size, trouble)


@contextmanager
def _unzipped(opened: Open) -> Iterator[IO[bytes]]:
    with opened() as packed, gzip.GzipFile(fileobj=packed) as content:
        yield cast(IO[bytes], content)
