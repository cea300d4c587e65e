"""The data sets that people sent, as they lie in the data sets' directory: a folder each, whole or not there."""

import errno
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, Field

from core.errors import Conflict, NoSpace, NotFound, is_disk_full
from core.recipe import DATASET_NAME
from service.datasets.importer import Built, Layout
from service.datasets.validation_report import Problem

CARD = "dataset.json"
ASIDE = ".aside-"
STALE_S = 24 * 3600.0  # what a killed service left aside is of no use to anybody after that


class DatasetCard(BaseModel):
    """What is known of an uploaded data set; ``dataset.json`` in its folder."""

    name: str = Field(description="Name of the data set in recipes.")
    version: int = Field(description="Version, from 1; replacing the data set increments it.")
    created_at: datetime = Field(description="Time of the upload, UTC.")
    layout: Layout = Field(
        description="Layout. folders: a folder per class; table: a CSV with labels; idx: MNIST's four IDX files."
    )
    digest: str = Field(description="SHA-256 of the files' names and contents.")
    images: int = Field(description="Number of images, training and test together.")
    classes: dict[str, dict[str, int]] = Field(
        description="Number of images per class in train, test and, if sent besides test, val (selects the best "
        "epoch). If test is empty, training holds back a fifth."
    )
    problems: list[Problem] = Field(description="Files that were left out, at most 1,000.")
    problem_count: int = Field(description="Number of files that were left out.")


class Registry:
    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def aside(self) -> Iterator[Path]:
        """A new folder on the same disk; what is still there at the end goes.

        NoSpace when the disk is full meanwhile, Conflict when nothing may be written there.
        """
        folder = self._root / f"{ASIDE}{secrets.token_hex(8)}"
        try:
            folder.mkdir(parents=True)
            self._sweep()
            yield folder
        except OSError as error:
            raise _as_ours(error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def has(self, name: str) -> bool:
        return (self._root / name).exists()

    def has_files(self, name: str) -> bool:
        """Whether anything lies there, from wherever it came."""
        return (self._root / name).is_dir() and any((self._root / name).iterdir())

    def names(self) -> list[str]:
        """Return the names of all folders that a recipe can name, uploaded or not."""
        folders = self._root.iterdir() if self._root.is_dir() else ()
        return sorted(entry.name for entry in folders if entry.is_dir() and re.match(DATASET_NAME, entry.name))

    def card(self, name: str) -> DatasetCard:
        """NotFound when there is no such data set, or nobody sent it."""
        try:
            return DatasetCard.model_validate_json((self._root / name / CARD).read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"No data set {name} was uploaded.") from error

    def folder(self, name: str) -> Path:
        return self._root / name

    def foresee(self, built: Built, name: str) -> DatasetCard:
        """The card that it would have under that name. Conflict where ``place`` raises it."""
        old = self._removable(name)
        return _card(built, name, old.version + 1 if old else 1)

    def place(self, built: Built, folder: Path, name: str) -> DatasetCard:
        """Give that name to the folder, which lies in one that is aside. What has the name now goes aside itself."""
        card = self.foresee(built, name)
        (folder / CARD).write_text(card.model_dump_json(indent=2))
        self.remove(name, folder.parent)
        folder.rename(self._root / name)
        return card

    def remove(self, name: str, aside: Path) -> None:
        """Under another name first, so that it is never half there. Its files go with ``aside``."""
        if self._removable(name):
            (self._root / name).rename(aside / "removed")

    def _removable(self, name: str) -> DatasetCard | None:
        """None: nothing has the name. Conflict for what nobody uploaded."""
        if not self.has(name):
            return None
        try:
            return self.card(name)
        except NotFound as error:
            raise Conflict(f"{name} was not uploaded: it is a folder in the data directory.") from error

    def _sweep(self) -> None:
        for folder in self._root.glob(f"{ASIDE}*"):
            if time.time() - folder.stat().st_mtime > STALE_S:
                shutil.rmtree(folder, ignore_errors=True)


def _card(built: Built, name: str, version: int) -> DatasetCard:
    return DatasetCard(
        name=name,
        version=version,
        created_at=datetime.now(UTC),
        layout=built.layout,
        digest=built.digest,
        images=sum(sum(count.values()) for count in built.counts.values()),
        classes=built.counts,
        problems=built.problems,
        problem_count=built.problem_count,
    )


def _as_ours(error: OSError) -> Exception:
    if is_disk_full(error):
        return NoSpace("The disk of the data sets is full.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Conflict("The service may not write into the data sets' directory (TUNESERVE_DATASETS_DIR).")
    return error
