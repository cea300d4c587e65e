"""A small disk of memory, so that a test can fill it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import missing

AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of memory on a folder within the block.

    ``size`` is as tmpfs takes it, "64m".
    """
    folder.mkdir()
    mounted = subprocess.run(
        [*AS_ROOT, "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        missing(f"no disk of its own without root: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run([*AS_ROOT, "umount", "--lazy", folder], check=True)


def free_on(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def fill(disk: Path, spare_mib: float) -> Path:
    """Fill a disk up to ``spare_mib`` free MiB."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, int(free_on(disk) - spare_mib * 2**20))
    return filler
