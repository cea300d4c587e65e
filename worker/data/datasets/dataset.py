"""A data set in memory or, if too large, in files."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from core.errors import DatasetInvalid
from core.imaging.preparation import Fit, Pixels
from worker.data.photo_files import Photos

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
    file_digests: npt.NDArray[np.uint8] | None = None  # n x 32, of training and test photos; None: of their pixels
    train_numbers: Labels | None = None  # n, of the training images within an uploaded data set
    train_groups: tuple[str, ...] | None = None  # n, of the training images; "": it is in none
    image_fit: Fit | None = None  # how photos of any shape were made canonical; None: all had the same

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
        """Compute the sha256 over all images and labels.

        It is the same whether the images are in memory or in files.
        """
        sha = hashlib.sha256("\0".join(self.classes).encode())
        if self.held_back:
            sha.update(str(self.held_back).encode())
        for images, digests, labels in (
            (self.train_images, self._train_image_digests, self.train_labels),
            (self.test_images, self._test_image_digests, self.test_labels),
        ):
            sha.update(str((len(labels), *self._form(images))).encode() + b"".join(digests))
            sha.update(str(labels.shape).encode() + labels.tobytes())
        return sha.hexdigest()

    @cached_property
    def test_digest(self) -> str:
        """Compute the sha256 over the test images and their class names.

        The order of images does not matter. Equal digests make two test accuracies comparable, whatever the models were
        trained on.
        """
        names = (self.classes[label].encode() for label in self.test_labels.tolist())
        labelled = sorted(zip(self._test_image_digests, names, strict=True))
        sha = hashlib.sha256(" ".join(map(str, self._form(self.test_images))).encode())
        for image, name in labelled:
            sha.update(image + len(name).to_bytes(4) + name)
        return sha.hexdigest()

    def _form(self, images: Images | Photos) -> tuple[int, ...]:
        """Return height, width and channels, which digests of pixels leave open."""
        return images.shape[1:] if self.file_digests is None else ()

    @property
    def _train_image_digests(self) -> list[bytes]:
        return self._digests(self.train_images, slice(None, len(self.train_labels)))

    @cached_property
    def _test_image_digests(self) -> list[bytes]:
        return self._digests(self.test_images, slice(len(self.train_labels), None))

    def _digests(self, images: Images | Photos, place: slice) -> list[bytes]:
        """Return the digest of each image, its file's if known.

        ``place`` is where the images are in ``file_digests``.
        """
        if self.file_digests is not None:
            return [row.tobytes() for row in self.file_digests[place]]
        assert not isinstance(images, Photos)
        return [*map(_digest_of, images)]


def _digest_of(image: Pixels) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()
