"""Unpack uploaded files into a folder of numbered files.

No uploaded path touches the disk. The entries, the unpacked bytes and their ratio to the uploaded bytes have
bounds.
"""

import errno
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from core.artifacts import zip_directory
from core.artifacts.batch_files import JUNK
from core.errors import InvalidInput, TooLarge
from core.settings import Settings
from service.datasets.archives import DAMAGE, Member, members_of
from service.datasets.validation_report import ValidationReport
from service.uploads.disk_space import DiskReserve

MAX_RATIO = 100  # unpacked to sent: photos have 1, MNIST's files 6
ALWAYS_BYTES = 64 * 2**20  # may a small archive unpack to, whatever its ratio
CHUNK = 2**20
MAX_NAME_LENGTH = 1000  # characters, the folders included
MAX_LEVELS = 32  # folders in one another
SEPARATOR = "\\"  # old Windows programs part folders so


@dataclass(frozen=True)
class Sent:
    """A file of the uploaded body."""

    name: str  # "" for a body without a form
    file: Path


@dataclass(frozen=True)
class Entry:
    path: PurePosixPath  # as it was sent
    file: Path  # where its bytes are now


@dataclass
class Unpacked:
    entries: list[Entry] = field(default_factory=list)
    folders: list[PurePosixPath] = field(default_factory=list)  # named by the archive itself; so empty ones are known


@dataclass
class _Budget:
    """A budget of entries and bytes; TooLarge or NoSpace once spent."""

    bytes_left: int
    claims_left: int  # bytes too: what is passed over takes time
    entries_left: int
    reserve: DiskReserve
    room: int = 0  # bytes of the disk that were found free, of which nothing is written yet

    def take_entry(self, claimed: int) -> None:
        self.entries_left -= 1
        self.claims_left -= claimed
        if self.entries_left < 0:
            raise TooLarge("There are more files than TUNESERVE_MAX_DATASET_FILES allows.")
        if self.claims_left < 0:
            raise _too_large()

    def take_bytes(self, count: int) -> None:
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise _too_large()
        if self.room < count:  # others write there too
            self.reserve.require(CHUNK)
            self.room = CHUNK
        self.room -= count


def _too_large() -> TooLarge:
    return TooLarge(
        "This unpacks to more than is allowed: to more than TUNESERVE_MAX_DATASET_UNPACKED_BYTES, or to more than "
        f"{MAX_RATIO} times its own size."
    )


def unpack(sent: Sequence[Sent], into: Path, settings: Settings, report: ValidationReport) -> Unpacked:
    """Unpack every file that may be an image or a table.

    Raise InvalidInput if a body is no archive at all. Damaged archives are reported.
    """
    into.mkdir()
    budget = _budget(sum(one.file.stat().st_size for one in sent), into, settings)
    found, seen = Unpacked(), set[PurePosixPath]()
    for one in sent:
        try:
            for member in members_of(one.name, one.file, settings):
                budget.take_entry(member.size)
                _look_at(member, found, seen, into, budget, report)
        except DAMAGE as error:
            _raise_if_ours(error)
            report.refuse(one.name or "body", "damaged", f"The archive cannot be read to its end: {error}.")
    return found


def _budget(sent_bytes: int, into: Path, settings: Settings) -> _Budget:
    most = min(settings.max_dataset_unpacked_bytes, ALWAYS_BYTES + MAX_RATIO * sent_bytes)
    return _Budget(most, most, settings.max_dataset_files, DiskReserve(settings, into))


def _look_at(
    member: Member, found: Unpacked, seen: set[PurePosixPath], into: Path, budget: _Budget, report: ValidationReport
) -> None:
    if trouble := _name_trouble(member.name):
        report.warn(member.name, "long_name", trouble)
        return
    path = _path(member.name)
    if path.is_absolute() or ".." in path.parts:
        report.warn(member.name, "unsafe_path", "The path leads out of the archive.")
    elif _is_junk(path):
        pass
    elif member.kind == "folder":
        found.folders.append(path)
    elif member.trouble:
        report.warn(path, *member.trouble)
    elif path in seen:
        report.warn(path, "duplicate", "The archive holds two files of this name; the first one counts.")
    else:
        if not member.name_is_known:
            report.warn(path, "name_encoding", f"It is kept. {zip_directory.GARBLED}")
        seen.add(path)
        _keep(member, path, found, into, budget, report)


def _keep(
    member: Member, path: PurePosixPath, found: Unpacked, into: Path, budget: _Budget, report: ValidationReport
) -> None:
    target = into / f"{len(found.entries):07d}"
    try:
        with member.open() as content, target.open("wb") as file:
            for chunk in _chunks(content):
                budget.take_bytes(len(chunk))
                file.write(chunk)
    except DAMAGE as error:
        _raise_if_ours(error)
        report.warn(path, "damaged", f"It cannot be unpacked: {error}.")
    else:
        found.entries.append(Entry(path, target))


def _chunks(content: IO[bytes]) -> Iterator[bytes]:
    while chunk := content.read(CHUNK):
        yield chunk


def _name_trouble(name: str) -> str | None:
    if len(name) > MAX_NAME_LENGTH:
        return f"The name has more than {MAX_NAME_LENGTH} characters, its folders included."
    if name.count("/") + name.count(SEPARATOR) > MAX_LEVELS:
        return f"It lies more than {MAX_LEVELS} folders deep."
    return None


def _path(name: str) -> PurePosixPath:
    """Return the path in Unicode's form NFC.

    Operating systems write the same name in different forms.
    """
    return PurePosixPath(unicodedata.normalize("NFC", name.replace(SEPARATOR, "/")))


def _is_junk(path: PurePosixPath) -> bool:
    return not path.parts or any(part in JUNK or part.startswith(".") for part in path.parts)


def _raise_if_ours(error: Exception) -> None:
    """Re-raise errors of our disk, which are no fault of the upload.

    A failing disk sets an errno. A library that complains about bytes sets none, or EINVAL for a seek to nowhere.
    """
    of_the_disk = isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
    if of_the_disk or isinstance(error, InvalidInput):
        raise error
