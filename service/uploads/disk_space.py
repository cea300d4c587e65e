"""Measure a disk's free space and keep its reserve free."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.errors import NoSpace, is_disk_full
from core.settings import Settings

PIECE_BYTES = 2**20


def free_bytes(path: Path) -> int:
    """Measure the free bytes on a folder's disk.

    The folder need not exist yet.
    """
    try:
        return shutil.disk_usage(path).free  # called for every piece that is written
    except FileNotFoundError:
        return shutil.disk_usage(_existing(path)).free


def on_same_disk(one: Path, other: Path) -> bool:
    """Check whether two folders are on the same disk.

    They need not exist yet.
    """
    return _existing(one).stat().st_dev == _existing(other).stat().st_dev


def lack_of_space(settings: Settings) -> str | None:
    """Report what is wrong with the data directory's disk; None if nothing."""
    try:
        free, least = free_bytes(settings.data_dir), settings.min_free_bytes
    except OSError as error:
        return f"The disk of TUNESERVE_DATA_DIR does not answer: {error.strerror}."
    if free >= least:
        return None
    return (
        f"{free / 2**20:.0f} MiB are free on the disk of TUNESERVE_DATA_DIR, and {least / 2**20:.0f} must be: delete "
        "models or checkpoints, or lower TUNESERVE_MIN_FREE_BYTES."
    )


def require_space(settings: Settings) -> None:
    """Raise NoSpace when a job would likely end with a full disk."""
    if lack := lack_of_space(settings):
        raise NoSpace(lack)


class DiskReserve:
    """Keep TUNESERVE_MIN_FREE_BYTES free on a folder's disk."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._least = settings.min_free_bytes
        self._folder = folder

    def require(self, more: int, owed: int = 0) -> None:
        """Raise NoSpace if ``more`` bytes would touch the reserve.

        ``owed`` bytes are those that open uploads may still write.
        """
        free = free_bytes(self._folder)
        if free - owed - more >= self._least:
            return
        promised = f", {owed} of them promised to open uploads (GET /uploads)" if owed else ""
        raise NoSpace(
            f"{more} bytes more do not fit on the disk: {free} are free{promised}, and {self._least} must stay free "
            "(TUNESERVE_MIN_FREE_BYTES)."
        )

    def write(self, file: IO[bytes], data: bytes) -> None:
        self.require(len(data))
        file.write(data)

    def copy(self, source: IO[bytes], target: IO[bytes]) -> None:
        while piece := source.read(PIECE_BYTES):
            self.write(target, piece)


@contextmanager
def full_disk_as_no_space() -> Iterator[None]:
    """Raise NoSpace where a write finds the disk full all the same."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise NoSpace("The disk is full.") from error
        raise


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
