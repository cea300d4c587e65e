"""A data set in memory."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from core.errors import DatasetInvalid

Images = npt.NDArray[np.uint8]  # n x height x width x channels, canonical
Labels = npt.NDArray[np.int64]  # n, the class index


@dataclass(frozen=True)
class Dataset:
    name: str
    style: Literal["digit", "plain", "photo"]  # see core.images.Preparation
    detail: int  # side in pixels of the images before they were made canonical: more shows nothing more
    classes: tuple[str, ...]  # by class index
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels

    def __post_init__(self) -> None:
        for part, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            if len(images) != len(labels) or len(images) == 0:
                raise DatasetInvalid(f"{self.name}: {len(images)} {part} images and {len(labels)} labels.")
            if labels.min() < 0 or labels.max() >= len(self.classes):
                raise DatasetInvalid(f"{self.name}: a {part} label lies outside 0..{len(self.classes) - 1}.")

    @cached_property
    def digest(self) -> str:
        """sha256 over all images and labels: two runs with the same digest saw the same data."""
        sha = hashlib.sha256("\0".join(self.classes).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            sha.update(str(array.shape).encode() + np.ascontiguousarray(array).data)
        return sha.hexdigest()
