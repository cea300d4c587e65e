"""Data sets that a recipe can name, described without reading an image."""

from typing import Literal

from pydantic import BaseModel, Field

from core.errors import NotFound
from core.recipe import DATASETS
from service.datasets.registry import Registry

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
    version: int | None = Field(None, description="Version of an uploaded data set; null for others.")
    images: int | None = Field(None, description="Number of images, training and test together; null if unknown.")
    classes: int | None = Field(None, description="Number of classes; null if unknown.")


def names(registry: Registry) -> list[str]:
    """The built-in ones, then whatever lies in the data sets' directory."""
    return [*DATASETS, *(name for name in registry.names() if name not in DATASETS)]


def summary(name: str, registry: Registry) -> DatasetSummary:
    """Summarise a data set that a recipe can name; NotFound for others."""
    if name in DATASETS:
        classes, images = PUBLISHED[name]
        available = name in EMBEDDED or registry.has_files(name)
        return DatasetSummary(name=name, kind="built_in", available=available, images=images, classes=classes)
    try:
        card = registry.card(name)
    except NotFound:
        if name not in registry.names():
            raise
        return DatasetSummary(name=name, kind="folder", available=True)
    return DatasetSummary(
        name=name, kind="uploaded", available=True, version=card.version, images=card.images, classes=len(card.classes)
    )
