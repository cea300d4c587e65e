"""Data sets that a recipe can name, described without reading an image."""

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from core.dataset_references import DATASET_NAME, DATASETS
from core.db.tables import DatasetVersion
from core.errors import NotFound
from core.repositories import datasets
from core.settings import Settings

EMBEDDED = ("digits",)  # comes with the worker
PUBLISHED = {  # classes and images of the built-in ones, as their makers publish them
    "digits": (10, 1_797),
    "mnist": (10, 70_000),
    "fashion_mnist": (10, 70_000),
    "kmnist": (10, 70_000),
    "qmnist": (10, 120_000),
    "emnist_digits": (10, 280_000),
    "emnist_letters": (26, 145_600),
    "usps": (10, 9_298),
    "svhn": (10, 99_289),
    "cifar10": (10, 60_000),
    "cifar100": (100, 60_000),
    "imagenette": (10, 13_394),
    "eurosat": (10, 27_000),
    "country211": (211, 63_300),
    "rendered_sst2": (2, 9_613),
    "food101": (101, 101_000),
    "dtd": (47, 5_640),
}


class DatasetSummary(BaseModel):
    name: str = Field(description="Name of the data set in recipes.")
    kind: Literal["built_in", "uploaded", "folder"] = Field(
        description="Origin. built_in: comes with tuneserve; uploaded: sent to POST /datasets; folder: copied there."
    )
    available: bool = Field(
        description="Whether its files are present. The first job downloads a missing built_in data set."
    )
    version: int | None = Field(None, description="Newest version of an uploaded data set; null for others.")
    images: int | None = Field(None, description="Number of images, training and test together; null if unknown.")
    classes: int | None = Field(None, description="Number of classes; null if unknown.")


def summaries(session: Session, settings: Settings) -> list[DatasetSummary]:
    """Summarise all data sets: the built-in ones, then the others by name.

    The others are uploads and folders of images.
    """
    own = {
        name: DatasetSummary(name=name, kind="folder", available=True)
        for name in _folder_names(settings.resolved_datasets_dir)
    }
    own |= {version.dataset: _uploaded(version) for version in datasets.newest_of_all(session)}
    return [_built_in(name, settings) for name in DATASETS] + [own[name] for name in sorted(own)]


def summary(session: Session, settings: Settings, name: str) -> DatasetSummary:
    """Summarise a data set that a recipe can name; NotFound for others."""
    if name in DATASETS:
        return _built_in(name, settings)
    if version := datasets.newest(session, name):
        return _uploaded(version)
    if is_folder(settings, name):
        return DatasetSummary(name=name, kind="folder", available=True)
    raise NotFound(f"There is no data set {name}; GET /datasets lists them.")


def is_folder(settings: Settings, name: str) -> bool:
    """Check whether the data sets' directory holds a folder of that name.

    Such a folder was put there by hand, not uploaded.
    """
    return name in _folder_names(settings.resolved_datasets_dir)


def _folder_names(root: Path) -> list[str]:
    folders = root.iterdir() if root.is_dir() else ()
    names = [entry.name for entry in folders if entry.is_dir() and re.match(DATASET_NAME, entry.name)]
    return [name for name in names if name not in DATASETS]


def _built_in(name: str, settings: Settings) -> DatasetSummary:
    classes, images = PUBLISHED[name]
    folders = (settings.resolved_datasets_dir / name, settings.downloaded_datasets_dir / name)
    available = name in EMBEDDED or any(folder.is_dir() and any(folder.iterdir()) for folder in folders)
    return DatasetSummary(name=name, kind="built_in", available=available, images=images, classes=classes)


def _uploaded(version: DatasetVersion) -> DatasetSummary:
    card = version.card
    return DatasetSummary(
        name=version.dataset,
        kind="uploaded",
        available=True,
        version=version.version,
        images=card["images"],
        classes=len(card["classes"]),
    )
