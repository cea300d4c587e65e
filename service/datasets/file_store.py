"""Store the files of uploaded data sets, each content once per set.

A file's name is its digest.
"""

import errno
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.artifacts.dataset_files import StoredImage, path_of, place_of
from core.artifacts.store import sync_directory
from core.db.database import Database
from core.errors import Conflict, NoSpace, is_disk_full
from core.repositories import datasets

ASIDE = ".aside-"
STALE_S = 24 * 3600.0  # what a killed service left aside is of no use to anybody after that


class FileStore:
    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def aside(self) -> Iterator[Path]:
        """Yield a new folder on the same disk and delete it afterwards.

        Raise NoSpace if the disk fills up meanwhile, Conflict if nothing may be written there.
        """
        folder = self._root / f"{ASIDE}{secrets.token_hex(8)}"
        try:
            folder.mkdir(parents=True)
            self._sweep_aside()
            yield folder
        except OSError as error:
            raise _as_ours(error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def path(self, name: str, digest: str) -> Path:
        return path_of(self._root, name, digest)

    def place(self, arranged: Path, name: str, digests: Collection[str]) -> None:
        """Move the arranged files of these digests into the data set's folder.

        Files that are there already stay. All names have reached the disk afterwards. Call ``datasets.lock`` first.
        """
        target = self._root / name
        if not target.exists():
            arranged.rename(target)
        else:
            for place in map(place_of, digests):
                if not (target / place).exists():
                    (target / place).parent.mkdir(exist_ok=True)
                    (arranged / place).rename(target / place)
            for folder in {(target / place_of(digest)).parent for digest in digests}:
                sync_directory(folder)
            sync_directory(target)
        sync_directory(self._root)

    def sweep(self, db: Database, name: str) -> None:
        """Delete the files of a data set that no version uses.

        Safe beside an upload: the files are checked again under the data set's lock.
        """
        there = [file.name for file in (self._root / name).glob("*/*")]
        with db.read() as session:
            unused = datasets.unused(session, name, there)
        for some in datasets.chunks(sorted(unused)):
            with db.write() as session:
                datasets.lock(session, name)
                for digest in datasets.unused(session, name, some):
                    self.path(name, digest).unlink(missing_ok=True)

    def sweep_deleted(self, db: Database) -> None:
        """Delete the folders of data sets that have no version.

        A crash may have left some.
        """
        folders = list(self._root.iterdir()) if self._root.is_dir() else []
        with db.read() as session:
            known = set(datasets.names(session))
        for folder in folders:
            if not folder.name.startswith(ASIDE) and folder.name not in known:
                self._remove(db, folder)

    def _remove(self, db: Database, folder: Path) -> None:
        with self.aside() as aside, db.write() as session:
            datasets.lock(session, folder.name)
            if datasets.newest(session, folder.name) is None:
                with suppress(FileNotFoundError):  # another process was faster
                    folder.rename(aside / "removed")

    def _sweep_aside(self) -> None:
        for folder in self._root.glob(f"{ASIDE}*"):
            with suppress(FileNotFoundError):
                if time.time() - folder.stat().st_mtime > STALE_S:
                    shutil.rmtree(folder, ignore_errors=True)


def arrange(folder: Path, images: Iterable[StoredImage]) -> Path:
    """Move ``<part>/<class>/<file>`` to places named by content, in another folder.

    The files have reached the disk afterwards. One call for all of them: one for each of 10,000 would take minutes.
    """
    arranged = folder / "arranged"
    arranged.mkdir()
    for image in images:
        place = arranged / place_of(image.digest)
        place.parent.mkdir(exist_ok=True)
        (folder / image.part / image.label / image.file).rename(place)
    os.sync()
    return arranged


def _as_ours(error: OSError) -> Exception:
    if is_disk_full(error):
        return NoSpace("The disk of the data sets is full.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Conflict("The service may not write into the folder of uploaded data sets, below TUNESERVE_DATA_DIR.")
    return error
