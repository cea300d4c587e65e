"""Safe reading and unpacking of untrusted zip and tar.gz archives."""

import gzip
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from core.errors import DatasetInvalid, is_disk_full

MAX_BYTES = 2**36  # limit of the unpacked size, several times that of the largest data set
MIN_BYTES_ON_DISK = 4096  # what even an empty file takes
CHUNK = 2**20
# errors of the libraries for damaged archives; RuntimeError: encrypted, or an unknown compression
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)

Member = tuple[PurePosixPath, int, IO[bytes]]  # path, size in bytes, content to be read before the next member


def unpack(archive: Path, top: str, target: Path, max_bytes: int = MAX_BYTES) -> None:
    """Unpack the archive's folder ``top`` to ``target``, completely or not at all.

    DatasetInvalid: the archive is damaged, has no such folder, would write outside of it, or is too large.
    """
    with _named(archive), _folder_beside(target) as part:
        for path, content in _members(archive, max_bytes):
            if path.is_relative_to(top):
                _write(part / path.relative_to(top), content)
        if not any(part.iterdir()):
            raise DatasetInvalid(f"{archive} holds no folder {top} with files.")
        _rename(part, target)


def read_files(archive: Path, names: Collection[str], max_bytes: int = MAX_BYTES) -> dict[str, bytes]:
    """Read files by name, in any folder of an archive.

    DatasetInvalid if the archive is damaged or lacks one.
    """
    with _named(archive):
        members = _members(archive, max_bytes)
        found = {path.name: content.read() for path, content in members if path.name in names}
    if missing := [name for name in names if name not in found]:
        raise DatasetInvalid(f"{archive} holds no {' and no '.join(missing)}.")
    return found


@contextmanager
def _named(archive: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        if is_disk_full(error):
            raise
        raise DatasetInvalid(f"{archive} cannot be unpacked: {error}.") from error


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """Create a temporary folder on the target's disk.

    It is deleted at the end unless it was renamed.
    """
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=".part-"))
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _members(archive: Path, max_bytes: int) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Yield an archive's regular files; links and devices are skipped.

    DatasetInvalid for a path out of the archive, and above ``max_bytes`` unpacked.
    """
    total = 0
    for path, size, content in _in_zip(archive) if archive.suffix == ".zip" else _in_tar(archive):
        if path.is_absolute() or ".." in path.parts:
            raise DatasetInvalid(f"{archive} holds {path}, which leads out of it.")
        total += max(size, MIN_BYTES_ON_DISK)
        if total > max_bytes:
            raise DatasetInvalid(f"{archive} unpacks to more than {max_bytes} bytes.")
        yield path, content


def _in_zip(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as content:
        for entry in content.infolist():
            if not entry.is_dir():
                with content.open(entry) as file:
                    yield PurePosixPath(entry.filename), entry.file_size, file


def _in_tar(archive: Path) -> Iterator[Member]:
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as content:
        for entry in content:
            if entry.isfile() and (file := content.extractfile(entry)):
                yield PurePosixPath(entry.name), entry.size, file
        while stream.read(CHUNK):  # read to the end, where gzip's checksum is
            pass


def _write(path: Path, content: IO[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)


def _rename(part: Path, target: Path) -> None:
    try:
        part.rename(target)
    except OSError:
        if not target.is_dir():  # else another worker was faster
            raise
