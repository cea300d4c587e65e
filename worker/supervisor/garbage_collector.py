"""Remove what killed processes have left in the data directory.

Those are files of models and checkpoints whose row was never written, and half of a batch's images. Imports no torch.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from core import ids
from core.artifacts.batch_files import LISTING
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import OWNED, Batch, Job, Model
from core.repositories import checkpoints
from core.settings import Settings

log = logging.getLogger(__name__)
EVERY_S = 3600.0
QUIET_S = 3600.0  # between two pieces of a slow upload, or a model's bytes and its row, there are seconds


class GarbageCollector:
    """Deletes left-over files once an hour; the loop calls ``tend`` repeatedly.

    Files unknown to this database stay unless they are visibly incomplete: they may belong to another database.
    """

    def __init__(self, settings: Settings, db: Database, clock: Callable[[], float]) -> None:
        self._root = settings.data_dir
        self._store = LocalStore(settings.data_dir)
        self._db = db
        self._clock = clock
        self._due = 0.0

    def tend(self) -> None:
        now = self._clock()
        if 0 < self._due - now <= EVERY_S:  # more, where the clock was set back
            return
        self._due = now + EVERY_S
        for pattern, is_left_over in (
            ("models/*", self._is_model_left_over),
            ("batches/*", self._is_batch_left_over),
            ("jobs/*/checkpoints/*/*", self._is_checkpoint_left_over),
        ):
            for folder in filter(_is_folder, self._root.glob(pattern)):
                if now - _last_change(folder) > QUIET_S and is_left_over(folder):
                    log.warning("removing %s, which a killed process has left", folder)
                    self._store.delete(self._key(folder))

    def _is_model_left_over(self, folder: Path) -> bool:
        """Check whether a model's files have no row and no owner.

        The attempt in the folder's name no longer owns the job, or the row says that the files are deleted.
        """
        job_id, attempt = ids.publisher(folder.name) or ("", 0)
        with self._db.read() as session:
            model, job = session.get(Model, folder.name), session.get(Job, job_id)
        if model is not None:
            return model.files_deleted_at is not None  # the deleting process was killed before it deleted the files
        return job is not None and not (job.status in OWNED and job.attempt == attempt)

    def _is_batch_left_over(self, folder: Path) -> bool:
        """Check whether a batch has neither listing nor row.

        Both are written after the last image.
        """
        with self._db.read() as session:
            return session.get(Batch, folder.name) is None and not (folder / LISTING).exists()

    def _is_checkpoint_left_over(self, folder: Path) -> bool:
        """Check whether a checkpoint has no row.

        The row is written right after the files.
        """
        job_id = folder.relative_to(self._root).parts[1]
        with self._db.read() as session:
            return session.get(Job, job_id) is not None and not checkpoints.has_row(session, self._key(folder))

    def _key(self, folder: Path) -> str:
        return folder.relative_to(self._root).as_posix()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _last_change(folder: Path) -> float:
    """Return the newest modification time in a folder.

    Infinity if another worker is deleting it.
    """
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return float("inf")
