"""A data set in memory or, if it is too large, in its files."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from core.errors import DatasetInvalid
from worker.data.photo_files import Photos, digest_of

Images = npt.NDArray[np.uint8]  # n x height x width x channels, canonical
Labels = npt.NDArray[np.int64]  # n, the class index


@dataclass(frozen=True)
class Dataset:
    name: str
    style: Literal["digit", "plain", "photo"]  # see core.imaging.preparation.Preparation
    detail: int  # side in pixels of the original images: a larger input shows nothing more
    classes: tuple[str, ...]  # by class index
    train_images: Images | Photos
    train_labels: Labels
    test_images: Images | Photos
    test_labels: Labels
    held_back: int = 0  # how many of the last training images are the data set's own validation split

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
        """Compute the sha256 over all images and labels, the same in memory or in files."""
        sha = hashlib.sha256("\0".join(self.classes).encode())
        if self.held_back:
            sha.update(str(self.held_back).encode())
        for images, digests, labels in (
            (self.train_images, _digests(self.train_images), self.train_labels),
            (self.test_images, self._test_image_digests, self.test_labels),
        ):
            sha.update(str(images.shape).encode() + b"".join(digests))
            sha.update(str(labels.shape).encode() + labels.tobytes())
        return sha.hexdigest()

    @cached_property
    def test_digest(self) -> str:
        """Compute the sha256 over the test images, each with its class's name, in any order.

        Equal digests make two test accuracies comparable, whatever the models were trained on.
        """
        height, width, channels = self.test_images.shape[1:]
        names = (self.classes[label].encode() for label in self.test_labels.tolist())
        labelled = sorted(zip(self._test_image_digests, names, strict=True))
        sha = hashlib.sha256(f"{height} {width} {channels}".encode())
        for image, name in labelled:
            sha.update(image + len(name).to_bytes(4) + name)
        return sha.hexdigest()

    @cached_property
    def _test_image_digests(self) -> list[bytes]:
        return _digests(self.test_images)


def _digests(images: Images | Photos) -> list[bytes]:
    """Return the digest of each image; the images need not be in memory together."""
    return [row.tobytes() for row in images.digests] if isinstance(images, Photos) else [*map(digest_of, images)]
