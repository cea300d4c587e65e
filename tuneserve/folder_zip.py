"""Pack a folder as a zip to send.

Links are followed, and what cannot be sent is reported rather than waited for.
"""

import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Warn = Callable[[Path, str], None]
Identity = tuple[int, int]  # of a folder: its device and inode


def pack(source: Path, target: Path, warn: Warn) -> None:
    """Write a folder's files into a zip.

    ``warn`` is called for each file that is left out, with the reason.
    """
    with zipfile.ZipFile(target, "w", strict_timestamps=False) as archive:  # stored: images are compressed already
        for path, name in _walk(source, "", frozenset((_identity(source),)), warn):
            archive.write(path, name)


@contextmanager
def packed(source: Path, warn: Warn) -> Iterator[Path]:
    """Yield the file itself, or a temporary zip of the folder."""
    if source.is_file():
        yield source
    elif source.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "folder.zip"
            pack(source, target, warn)
            yield target
    else:
        raise FileNotFoundError(f"this is neither a file nor a folder: {source}")


def sendable_name(name: str) -> str:
    """Return a name that can be written as UTF-8.

    Bytes that are no UTF-8 become %E9 and the like.
    """
    return "".join(f"%{ord(one) - 0xDC00:02X}" if "\udc80" <= one <= "\udcff" else one for one in name)


def _walk(folder: Path, above: str, parents: frozenset[Identity], warn: Warn) -> Iterator[tuple[Path, str]]:
    """Yield files and folders with their names in the zip.

    Folders too, so that an empty class is reported.
    """
    for entry in sorted(folder.iterdir()):
        name = above + sendable_name(entry.name)
        try:
            kind = entry.stat().st_mode
        except OSError as error:
            warn(entry, "it is a broken link" if entry.is_symlink() else f"it cannot be read: {error.strerror}")
            continue
        if stat.S_ISREG(kind):
            yield entry, name
        elif not stat.S_ISDIR(kind):
            warn(entry, "it is neither a file nor a folder")
        elif (identity := _identity(entry)) in parents:
            warn(entry, "it is a link to a folder around it")
        elif not entry.name.startswith("."):
            yield entry, f"{name}/"
            yield from _walk(entry, f"{name}/", parents | {identity}, warn)


def _identity(folder: Path) -> Identity:
    found = folder.stat()
    return found.st_dev, found.st_ino
