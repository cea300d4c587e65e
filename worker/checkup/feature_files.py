"""Features of a data set's images, kept beside them by content.

A version that shares images with an earlier one computes only those of the new ones.
"""

import hashlib
import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.artifacts.store import LocalStore
from worker.checkup.near_duplicates import PICTURE

log = logging.getLogger(__name__)
DAMAGE = (zipfile.BadZipFile, OSError, ValueError, KeyError, EOFError)


@dataclass(frozen=True)
class Features:
    """What is known of some images."""

    digests: npt.NDArray[np.uint8]  # n x 32: SHA-256 of the images
    embeddings: npt.NDArray[np.float16]  # n x d
    pictures: npt.NDArray[np.uint8]  # n x PICTURE x PICTURE, grey

    def __len__(self) -> int:
        return len(self.digests)

    def rows(self) -> dict[str, int]:
        """Return the row of each digest, in hexadecimal."""
        return {digest.tobytes().hex(): row for row, digest in enumerate(self.digests)}

    def some(self, rows: npt.NDArray[np.int64]) -> "Features":
        return Features(self.digests[rows], self.embeddings[rows], self.pictures[rows])


def join(*parts: Features) -> Features:
    return Features(
        np.concatenate([part.digests for part in parts]),
        np.concatenate([part.embeddings for part in parts]),
        np.concatenate([part.pictures for part in parts]),
    )


class FeatureFiles:
    """The files of one kind of features in a data set's folder.

    ``kind`` names what the features depend on. Files are written whole, and never change: two workers may write at
    once.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._kind = kind
        self._store = LocalStore(folder)

    def load(self) -> list[Features]:
        """Read all files; a damaged one is deleted."""
        return [features for path in self._paths() if (features := self._read(path)) is not None]

    def save(self, features: Features) -> Path:
        """Write a file more."""
        key = hashlib.sha256(features.digests.tobytes()).hexdigest()[:16]
        name = f"features-{self._kind}-{key}.npz"
        with self._store.writing(name) as file:
            np.savez(file, digests=features.digests, embeddings=features.embeddings, pictures=features.pictures)
        return self._folder / name

    def keep(self, features: Features) -> None:
        """Have one file with these features alone."""
        kept = self.save(features)
        for path in self._paths():
            if path != kept:
                path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"features-{self._kind}-*.npz"))

    def _read(self, path: Path) -> Features | None:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = Features(arrays["digests"], arrays["embeddings"], arrays["pictures"])
            count = len(found)
            if found.digests.shape == (count, 32) and found.pictures.shape == (count, PICTURE, PICTURE):
                return found
        except FileNotFoundError:  # another worker has joined it with others
            return None
        except DAMAGE:
            log.warning("%s is damaged", path, exc_info=True)
        path.unlink(missing_ok=True)
        return None
