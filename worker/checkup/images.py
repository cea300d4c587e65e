"""The images of an uploaded data set, as its check-up looks at them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from core.artifacts.dataset_files import StoredImage, path_of
from core.imaging.decoding import decode
from core.imaging.idx_format import FILES
from core.imaging.preparation import Pixels, fit_photo, from_array
from core.settings import Settings
from worker.data.formats.idx_files import read_images, read_labels
from worker.data.photo_files import size_of

PARTS = ("train", "val", "test")  # of two images that are the same, the one in the later part is reported
SMALL, SMALL_SIDE, PHOTO_SIDE = 64, 96, 224  # pixels: images up to so large are enlarged to the second
MEASURED = 200  # images whose sizes say whether they are small


@dataclass(frozen=True)
class CheckedImages:
    """Images with a digest each, training before validation before test.

    ``read`` takes the row of one, and the side of the square picture to make of it.
    """

    images: Sequence[StoredImage]
    side: int  # that the network looks at
    read: Callable[[int, int], Pixels]

    @property
    def is_small(self) -> bool:
        """Check whether the images are so small that they are enlarged."""
        return self.side == SMALL_SIDE


def of_version(name: str, images: Sequence[StoredImage], settings: Settings) -> CheckedImages:
    """Return the images of a data set's version."""
    if images and not images[0].label:
        return _of_idx({image.file: path_of(settings.dataset_files_dir, name, image.digest) for image in images})
    ordered = sorted(images, key=lambda image: (PARTS.index(image.part), image.number))
    paths = [path_of(settings.dataset_files_dir, name, image.digest) for image in ordered]
    chosen = np.linspace(0, len(paths) - 1, min(MEASURED, len(paths))).astype(int)
    sizes = [size for place in chosen if (size := size_of(str(paths[place]), settings.max_image_pixels))]
    longest = float(np.median([max(size) for size in sizes])) if sizes else PHOTO_SIDE
    return CheckedImages(ordered, _side(longest), partial(_read_file, paths, settings.max_image_pixels))


def _read_file(paths: Sequence[Path], max_pixels: int, row: int, side: int) -> Pixels:
    return fit_photo(decode(paths[row].read_bytes(), max_pixels), side, "squash")


def _of_idx(paths: dict[str, Path]) -> CheckedImages:
    """Return the images of MNIST's four files."""
    images: list[StoredImage] = []
    arrays: list[Pixels] = []
    for part, of_images, of_labels in (("train", *FILES[:2]), ("test", *FILES[2:])):
        pixels, labels = read_images(paths[of_images]), read_labels(paths[of_labels])
        found = StoredImage(part, "", of_images, "")
        images += [
            replace(found, label=str(label), file=f"{of_images} {place}", digest=hashlib.sha256(one).hexdigest())
            for place, (one, label) in enumerate(zip(pixels, labels.tolist(), strict=True))
        ]
        arrays.extend(pixels)
    longest = max(arrays[0].shape) if arrays else SMALL
    return CheckedImages(images, _side(longest), lambda row, side: fit_photo(from_array(arrays[row]), side, "squash"))


def _side(longest: float) -> int:
    return SMALL_SIDE if longest <= SMALL else PHOTO_SIDE
