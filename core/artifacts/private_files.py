"""Keep the files of service and worker private to their user."""

import logging
import os
import stat
import sys
from pathlib import Path

log = logging.getLogger(__name__)
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def keep_private(data_dir: Path) -> None:
    """Set a private umask and create a private data directory.

    For the start of a program: it changes the whole process and its children. Exits with the reason if there can be no
    such directory; one that cannot be closed is warned about.
    """
    os.umask(OTHERS)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(
            f"TUNESERVE_DATA_DIR names {data_dir}, which cannot be a directory: {error.strerror}. Name another one."
        )
    mode = stat.S_IMODE(data_dir.stat().st_mode)
    if mode & OTHERS and not _close(data_dir, mode):
        log.warning("other users may read %s (mode %o): its owner can close it with chmod 700", data_dir, mode)


def _close(folder: Path, mode: int) -> bool:
    """Remove other users' rights to a folder.

    Returns False if it is another user's, or for everybody like /tmp.
    """
    if mode & stat.S_ISVTX:
        return False
    try:
        folder.chmod(mode & ~OTHERS)
    except OSError:
        return False
    return True
