"""Photos in files, read into memory or left there.

Those left in files are read for each batch; their facts were recorded when they were checked.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from core.errors import InvalidInput
from core.imaging.decoding import decode, upright_size
from core.imaging.preparation import PHOTO_SIDE, Fit, Pixels, fit_photo
from core.networks import Resampling


@dataclass(frozen=True)
class PhotoForm:
    """The form of the canonical photos of a training."""

    side: int = PHOTO_SIDE
    fit: Fit = "crop"
    resampling: Resampling = "bilinear"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.side, self.side, 3)

    @property
    def nbytes(self) -> int:
        """Return the size of one photo in memory."""
        return self.side * self.side * 3


@dataclass(frozen=True)
class Photo:
    """A photo that was read."""

    pixels: Pixels  # canonical
    digest: bytes  # sha256 of its file


@dataclass(frozen=True)
class Facts:
    """The digest and the moments of one checked photo."""

    digest: bytes  # sha256 of its file
    moments: npt.NDArray[np.int64]  # 2 x channels: the sum of its values, and of their squares


@dataclass(frozen=True)
class Photos:
    """Photos in files in place of an array of images.

    Indexing selects some of them.
    """

    paths: npt.NDArray[np.object_]  # n, each a str
    moments: npt.NDArray[np.int64]  # n x 2 x channels
    form: PhotoForm
    max_pixels: int  # of a file, before it is decoded
    processes: int  # that decode them while training

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, chosen: slice | npt.NDArray[np.int64]) -> "Photos":
        return replace(self, paths=self.paths[chosen], moments=self.moments[chosen])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self), *self.form.shape)

    @property
    def nbytes(self) -> int:
        """Return the size of all photos, decoded, in bytes."""
        return len(self) * self.form.nbytes


def read(path: str, form: PhotoForm, max_pixels: int) -> Photo | str:
    """Read a file as the canonical photo, or return the problem.

    The problem is a sentence with the file's name.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a str: a data set may have millions of them
            data = file.read()
        pixels = fit_photo(decode(data, max_pixels), form.side, form.fit, form.resampling)
        return Photo(pixels, hashlib.sha256(data).digest())
    except InvalidInput as error:
        return f"{path}: {error}"
    except OSError as error:
        return f"{path}: {error.strerror or error}."


def examine(path: str, form: PhotoForm, max_pixels: int) -> Facts | str:
    """Check a file and return its facts, or the problem.

    The problem is a sentence with the file's name.
    """
    photo = read(path, form, max_pixels)
    if isinstance(photo, str):
        return photo
    levels = np.arange(256)
    counts = np.stack([np.bincount(photo.pixels[..., channel].ravel(), minlength=256) for channel in range(3)])
    return Facts(photo.digest, np.stack([counts @ levels, counts @ levels**2]))


def size_of(path: str, max_pixels: int) -> tuple[int, int] | None:
    """Read a photo's upright width and height from its file's header.

    None if the file cannot be read.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return upright_size(file.read(), max_pixels)
    except (InvalidInput, OSError):
        return None  # ``read`` says what is wrong
