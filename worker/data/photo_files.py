"""Photos that stay in files, with the facts recorded when they were checked."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from core.errors import InvalidInput
from core.imaging.decoding import decode
from core.imaging.preparation import PHOTO_SIDE, Pixels, fit_photo

SHAPE = (PHOTO_SIDE, PHOTO_SIDE, 3)
BYTES = PHOTO_SIDE * PHOTO_SIDE * 3  # of one photo in memory


@dataclass(frozen=True)
class Facts:
    """The digest and the moments of one checked photo."""

    digest: bytes  # sha256 of its pixels
    moments: npt.NDArray[np.int64]  # 2 x channels: the sum of its values, and of their squares


@dataclass(frozen=True)
class Photos:
    """Photos in files in place of an array of images; indexing selects some of them."""

    paths: npt.NDArray[np.object_]  # n, each a str
    digests: npt.NDArray[np.uint8]  # n x 32
    moments: npt.NDArray[np.int64]  # n x 2 x channels
    max_pixels: int  # of a file, before it is decoded
    processes: int  # that decode them while training

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, chosen: slice | npt.NDArray[np.int64]) -> "Photos":
        return replace(self, paths=self.paths[chosen], digests=self.digests[chosen], moments=self.moments[chosen])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self), *SHAPE)

    @property
    def nbytes(self) -> int:
        """Return the size of all photos, decoded, in bytes."""
        return len(self) * BYTES


def read(path: str, max_pixels: int) -> Pixels | str:
    """Read a file as the canonical photo; or return the problem, with the file's name."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a str: a data set may have millions of them
            return fit_photo(decode(file.read(), max_pixels))
    except InvalidInput as error:
        return f"{path}: {error}"
    except OSError as error:
        return f"{path}: {error.strerror or error}."


def examine(path: str, max_pixels: int) -> Facts | str:
    """Check a file and return its facts; or the problem, with the file's name."""
    pixels = read(path, max_pixels)
    if isinstance(pixels, str):
        return pixels
    levels = np.arange(256)
    counts = np.stack([np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)])
    return Facts(digest_of(pixels), np.stack([counts @ levels, counts @ levels**2]))


def digest_of(image: Pixels) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()
