"""Photos that stay in their files: read one by one, with what was learnt of them when they were checked."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from core.errors import InvalidInput
from core.imaging.preparation import PHOTO_SIDE, Pixels, decode, fit_photo

SHAPE = (PHOTO_SIDE, PHOTO_SIDE, 3)
BYTES = PHOTO_SIDE * PHOTO_SIDE * 3  # of one photo in memory


@dataclass(frozen=True)
class Facts:
    """What is kept of a photo that was looked at."""

    digest: bytes  # sha256 of its pixels
    moments: npt.NDArray[np.int64]  # 2 x channels: the sum of its values, and of their squares


@dataclass(frozen=True)
class Photos:
    """Stands where an array of images would; an index array or a slice chooses from it."""

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
        """Of all of them in memory."""
        return len(self) * BYTES


def read(path: str, max_pixels: int) -> Pixels | str:
    """The canonical photo of a file; or what is wrong with the file, by its name."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a str: a data set may have millions of them
            return fit_photo(decode(file.read(), max_pixels))
    except InvalidInput as error:
        return f"{path}: {error}"
    except OSError as error:
        return f"{path}: {error.strerror or error}."


def examine(path: str, max_pixels: int) -> Facts | str:
    """The same, without keeping the pixels."""
    pixels = read(path, max_pixels)
    if isinstance(pixels, str):
        return pixels
    levels = np.arange(256)
    counts = np.stack([np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)])
    return Facts(digest_of(pixels), np.stack([counts @ levels, counts @ levels**2]))


def digest_of(image: Pixels) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()
