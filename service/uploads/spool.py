"""Keep large form parts on the data directory's disk during parsing."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def empty(folder: Path) -> None:
    """Remove what a killed process left in the folder.

    Call it before any process of the service starts.
    """
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def spooling(folder: Path) -> Iterator[None]:
    """Put this process's temporary files into a folder within the block.

    Starlette's parser of forms cannot be given a folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
