"""Make, describe and delete versions of an uploaded data set."""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from core.artifacts.dataset_files import StoredImage
from core.checkups import queue
from core.dataset_references import parse_dataset
from core.db.database import Database
from core.db.tables import ENDED, DatasetVersion, JobStatus
from core.errors import Conflict, InvalidInput, NotFound, TooLarge
from core.repositories import datasets, jobs, models
from core.settings import Settings
from service.datasets import checkups, images
from service.datasets.duplicates import Occurrence, report_repeated
from service.datasets.file_store import FileStore, arrange
from service.datasets.importer import Built, Layout, read_list
from service.datasets.layouts.parts import Part
from service.datasets.validation_report import Problem, ValidationReport

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
    group_pattern: str = Field("", description="How file names tell groups, added images' too; empty: they do not.")


class VersionView(BaseModel):
    """One of the versions of an uploaded data set."""

    version: int = Field(description="Number of the version; recipes name it like pets/2.")
    created_at: datetime = Field(description="Time of the upload or change, UTC.")
    images: int = Field(description="Number of images, training and test together.")
    classes: int = Field(description="Number of classes.")
    digest: str = Field(description="SHA-256 of the files' names and contents.")


class VersionPage(BaseModel):
    data: list[VersionView] = Field(description="The versions of this page, newest first.")
    has_more: bool = Field(description="Whether older versions follow.")
    next: int | None = Field(description="The value of `after` for the next page; null on the last page.")


class Arrived:
    """A data set built aside, with its files arranged by content."""

    def __init__(self, built: Built, folder: Path) -> None:
        self.built = built
        self.images = read_list(folder)
        self.arranged = arrange(folder, self.images)


def view(version: DatasetVersion) -> VersionView:
    """Describe a version in a few words."""
    card = version.card
    return VersionView(
        version=version.version,
        created_at=card["created_at"],
        images=card["images"],
        classes=len(card["classes"]),
        digest=card["digest"],
    )


def foresee(session: Session, name: str, built: Built) -> DatasetCard:
    """Return the card that a data set would have under a name."""
    return _card(name, datasets.next_version(session, name), built)


def replace(session: Session, settings: Settings, name: str, arrived: Arrived, may_replace: bool) -> DatasetCard:
    """Make an arrived data set the newest version.

    Raise Conflict if there is one that may not be replaced.
    """
    datasets.lock(session, name)
    old = current(session, name)
    if old and not may_replace:
        raise taken(name)
    new = datasets.keep_numbers(old, arrived.images)
    return _commit(session, settings, arrived.arranged, old, new, foresee(session, name, arrived.built))


def add(session: Session, settings: Settings, name: str, arrived: Arrived) -> DatasetCard:
    """Make a version with the arrived images too.

    An image that is there already, in the same class and part, is left out.
    """
    old, report = _editable(session, name), ValidationReport()
    places = {(image.digest, image.label, image.part): image for image in old}
    added = []
    for image in images.grouped(arrived.images, newest(session, name).group_pattern, report):
        if same := places.get((image.digest, image.label, image.part)):
            report.warn(image.file, "same_bytes", f"It is left out: {same.file} of this class has the same bytes.")
        else:
            added.append(image)
    if not added:
        raise Conflict(f"All of these images are in {name} already, in the same classes and parts.")
    if len(old) + len(added) > settings.max_dataset_files:
        raise TooLarge(f"{name} would have more images than TUNESERVE_MAX_DATASET_FILES allows.")
    report.warnings[:0] = arrived.built.problems
    report.count += arrived.built.problem_count
    return _edit(session, settings, name, old, old + added, report, arrived.arranged)


@dataclasses.dataclass(frozen=True)
class Place:
    """The class and part that images are moved to."""

    label: str
    part: Part | None  # None: that stays


def move(session: Session, settings: Settings, name: str, numbers: Collection[int], place: Place) -> DatasetCard:
    """Make a version with these images in another class or part."""
    old = _editable(session, name)
    if reason := images.class_refusal(place.label):
        raise InvalidInput(reason, "/class")
    moved = {
        image: dataclasses.replace(image, label=place.label, part=place.part or image.part)
        for image in _numbered(old, name, numbers)
    }
    return _edit(session, settings, name, old, [moved.get(image, image) for image in old], ValidationReport())


def remove(session: Session, settings: Settings, name: str, numbers: Collection[int]) -> DatasetCard:
    """Make a version without these images."""
    old = _editable(session, name)
    removed = _numbered(old, name, numbers)
    return _edit(session, settings, name, old, [one for one in old if one not in removed], ValidationReport())


def refuse_idx(card: DatasetCard) -> None:
    """Raise Conflict for a data set whose images lie in four files."""
    if card.layout == "idx":
        raise Conflict(
            f"The images of {card.name} lie in MNIST's four files, so that none can be shown or changed alone: send "
            "the four files again with ?replace=true, or the images as a folder for each class."
        )


def newest(session: Session, name: str) -> DatasetCard:
    """Return the card of the newest version."""
    return DatasetCard.model_validate(datasets.find(session, name).card)


def _editable(session: Session, name: str) -> list[StoredImage]:
    datasets.find(session, name)
    datasets.lock(session, name)
    refuse_idx(newest(session, name))
    return current(session, name)


def _numbered(images: Sequence[StoredImage], name: str, numbers: Collection[int]) -> set[StoredImage]:
    wanted = set(numbers)
    found = {image for image in images if image.number in wanted}
    if missing := wanted - {image.number for image in found}:
        raise NotFound(f"The newest version of {name} has no image {min(missing)}.")
    return found


def _edit(
    session: Session,
    settings: Settings,
    name: str,
    old: Sequence[StoredImage],
    new: Sequence[StoredImage],
    report: ValidationReport,
    arranged: Path | None = None,
) -> DatasetCard:
    """Commit a changed version; return the newest one if nothing changed.

    UnusableDataset if it could not be trained on.
    """
    before = newest(session, name)
    if set(old) == set(new):
        return before
    counts = images.count(new)
    _compare(old, new, report)
    images.judge(counts, report)
    images.judge_groups(new, report)
    report.check()
    card = before.model_copy(
        update={
            "version": datasets.next_version(session, name),
            "created_at": datetime.now(UTC),
            "digest": images.digest_of(new),
            "images": len(new),
            "classes": counts,
            "problems": report.warnings,
            "problem_count": report.count,
        }
    )
    return _commit(session, settings, arranged, old, new, card)


def _compare(old: Iterable[StoredImage], new: Sequence[StoredImage], report: ValidationReport) -> None:
    """Report changed images whose bytes are in another class or part too."""
    changed = set(new) - set(old)
    contents = {image.digest for image in changed}
    first: dict[str, Occurrence] = {}
    for image in sorted(new, key=lambda one: one in changed):
        if image.digest in contents:
            one = Occurrence(image.file, image.label, cast(Part, image.part))
            report_repeated(one, first.setdefault(image.digest, one), report)


def delete(session: Session, reference: str, force: bool) -> None:
    """Delete a version, or all versions of a data set.

    After the commit ``sweep`` and ``sweep_deleted`` remove the files. Raise Conflict while an unfinished job uses it
    and, without ``force``, while there are models that were trained on it.
    """
    name, _ = parse_dataset(reference)
    datasets.lock(session, name)
    numbers = datasets.claim_versions(session, reference)
    if using := jobs.on_dataset(session, reference, NOT_ENDED):
        raise Conflict(f"{reference} is in use: wait for {', '.join(using[:3])}, or cancel it.")
    if not force and (trained := models.trained_on(session, reference)):
        raise Conflict(
            f"{', '.join(trained[:3])} could not be trained again without {reference}: delete the models first, or add "
            "?force=true to keep them without it."
        )
    datasets.delete_versions(session, name, *numbers)
    if (checkup := queue.find(session, name)) and checkup.version in numbers:
        queue.forget(session, name)


def expire(db: Database, settings: Settings) -> None:
    """Delete versions that TUNESERVE_KEEP_DATASET_VERSIONS does not keep.

    Those that a model or an unfinished job wants stay.
    """
    if settings.keep_dataset_versions is None:
        return
    with db.read() as session:
        old = {name: _expired(session, name, settings.keep_dataset_versions) for name in datasets.names(session)}
    for name, references in old.items():
        for reference in references:
            with suppress(Conflict, NotFound), db.write() as session:  # it may be wanted since
                delete(session, reference, force=False)
        if references:
            FileStore(settings.dataset_files_dir).sweep(db, name)


def _expired(session: Session, name: str, kept: int) -> list[str]:
    references = [f"{name}/{version}" for version in datasets.version_numbers(session, name)[kept:]]
    return [
        one for one in references if not (models.trained_on(session, one) or jobs.on_dataset(session, one, NOT_ENDED))
    ]


def taken(name: str) -> Conflict:
    return Conflict(f"There is a data set {name} already: add ?replace=true to make another version of it.")


def current(session: Session, name: str) -> list[StoredImage]:
    """Return the newest version's images; none if there is no version."""
    newest = datasets.newest(session, name)
    return datasets.images(session, name, newest.version) if newest else []


def _commit(
    session: Session,
    settings: Settings,
    arranged: Path | None,
    old: Sequence[StoredImage],
    new: Sequence[StoredImage],
    card: DatasetCard,
) -> DatasetCard:
    if len(datasets.version_numbers(session, card.name)) >= settings.max_dataset_versions:
        raise Conflict(
            f"{card.name} has {settings.max_dataset_versions} versions, TUNESERVE_MAX_DATASET_VERSIONS: "
            f"DELETE /datasets/{card.name}/1, or another that you do not need."
        )
    if arranged is not None:
        FileStore(settings.dataset_files_dir).place(arranged, card.name, _contents(new) - _contents(old))
    shown = card.model_dump(mode="json")
    datasets.add_version(session, card.name, old, new, shown, card.created_at.timestamp())
    checkups.request_if_wanted(session, settings, card.name, card.version, card.images)
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
        group_pattern=built.group_pattern,
    )
