"""Keep large parts of a form on the disk of the data directory while they are read."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def empty(folder: Path) -> None:
    """Remove what a killed process left: before any process of the service starts."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def spooling(folder: Path) -> Iterator[None]:
    """Put the temporary files of this process there: Starlette's parser of forms asks for no folder."""
    folder.mkdir(parents=True, exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
