"""Measure the free space on a disk, and refuse work that would fill it."""

import shutil
from pathlib import Path

from core.errors import NoSpace
from core.settings import Settings


def free_bytes(path: Path) -> int:
    """Measure the free space on the disk of a folder, or of where it will be made."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def lack_of_space(settings: Settings) -> str | None:
    """Report what is wrong with the space on the disk of the data directory; None: nothing."""
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
