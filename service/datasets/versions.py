"""Make, describe and delete versions of an uploaded data set."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from core.db.tables import ENDED, JobStatus
from core.errors import Conflict
from core.repositories import datasets, jobs
from core.repositories.datasets import StoredImage
from service.datasets.file_store import FileStore, arrange
from service.datasets.importer import Built, Layout, read_list
from service.datasets.validation_report import Problem

NOT_ENDED = frozenset(JobStatus) - ENDED


class DatasetCard(BaseModel):
    """What is known of a version of an uploaded data set."""

    name: str = Field(description="Name of the data set in recipes.")
    version: int = Field(description="Version, from 1. Recipes name it like pets/2; without it they mean the newest.")
    created_at: datetime = Field(description="Time of the upload or change, UTC.")
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


class Arrived:
    """A data set built aside, with its files arranged by content."""

    def __init__(self, built: Built, folder: Path) -> None:
        self.built = built
        self.images = read_list(folder)
        self.arranged = arrange(folder, self.images)


def foresee(session: Session, name: str, built: Built) -> DatasetCard:
    """The card that it would have under that name."""
    return _card(name, datasets.next_version(session, name), built)


def replace(session: Session, store: FileStore, name: str, arrived: Arrived, may_replace: bool) -> DatasetCard:
    """Make an arrived data set the newest version.

    Raise Conflict if there is one that may not be replaced.
    """
    datasets.lock(session, name)
    old = current(session, name)
    if old and not may_replace:
        raise taken(name)
    new = datasets.keep_numbers(old, arrived.images)
    return _commit(session, store, arrived.arranged, old, new, foresee(session, name, arrived.built))


def delete(session: Session, name: str) -> None:
    """Delete all versions of a data set.

    Raise Conflict while an unfinished job uses one. ``sweep_deleted`` removes the files after the commit.
    """
    datasets.lock(session, name)
    if using := jobs.on_dataset(session, name, NOT_ENDED):
        raise Conflict(f"{name} is in use: wait for {', '.join(using[:3])}, or cancel it.")
    datasets.delete_versions(session, name, *(version.version for version in datasets.versions(session, name)))


def taken(name: str) -> Conflict:
    return Conflict(f"There is a data set {name} already: add ?replace=true to make another version of it.")


def current(session: Session, name: str) -> list[StoredImage]:
    """The images of the newest version; none if there is no version."""
    newest = datasets.newest(session, name)
    return datasets.images(session, name, newest.version) if newest else []


def _commit(
    session: Session,
    store: FileStore,
    arranged: Path,
    old: Sequence[StoredImage],
    new: Sequence[StoredImage],
    card: DatasetCard,
) -> DatasetCard:
    store.place(arranged, card.name, _contents(new) - _contents(old))
    shown = card.model_dump(mode="json")
    datasets.add_version(session, card.name, old, new, shown, card.created_at.timestamp())
    return card


def _contents(images: Iterable[StoredImage]) -> set[str]:
    return {image.digest for image in images}


def _card(name: str, version: int, built: Built) -> DatasetCard:
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
