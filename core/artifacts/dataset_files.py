"""Files of uploaded data sets: each content once in a data set, whatever its versions call it."""

from pathlib import Path

DIGITS = 2  # of the digest, that name the folder: a few thousand files lie in each


def path_of(root: Path, dataset: str, digest: str) -> Path:
    """Return where the file with this SHA-256 lies; ``root`` is the setting ``dataset_files_dir``."""
    return root / dataset / place_of(digest)


def place_of(digest: str) -> Path:
    """Return a file's place in its data set's folder."""
    return Path(digest[:DIGITS], digest)
