"""Files of uploaded data sets, stored once per content.

All versions of a data set share them, whatever name they give a file.
"""

from dataclasses import dataclass
from pathlib import Path

DIGITS = 2  # of the digest, that name the folder: a few thousand files lie in each


@dataclass(frozen=True)
class StoredImage:
    """An image's place in a data set, and its SHA-256."""

    part: str
    label: str
    file: str
    digest: str
    number: int = 0  # within the data set; 0: it has none yet
    group: str = ""  # images of one group stay in one part; "": it is in none


def path_of(root: Path, dataset: str, digest: str) -> Path:
    """Return the path of the file with this SHA-256.

    ``root`` is the setting ``dataset_files_dir``.
    """
    return root / dataset / place_of(digest)


def place_of(digest: str) -> Path:
    """Return a file's place in its data set's folder."""
    return Path(digest[:DIGITS], digest)
