"""Storage for checkpoints, models and batches, by key.

A key is a relative path like ``models/<id>/weights.safetensors``. Objects are written whole or not at all.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from core.errors import NotFound


class ArtifactStore(Protocol):
    """The few operations an object store must support to replace the disk.

    No rename and no append. ``fetch`` returns a local path, since safetensors and ONNX Runtime map files into memory.
    """

    def put(self, key: str, data: bytes) -> None: ...

    def writing(self, key: str) -> AbstractContextManager[IO[bytes]]: ...

    def fetch(self, key: str) -> Path: ...

    def delete(self, prefix: str) -> None: ...

    def __hash__(self) -> int: ...


class LocalStore:
    """Artifact store in a local folder.

    Objects appear by rename, after their bytes have reached the disk.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, data: bytes) -> None:
        with self.writing(key) as file:
            file.write(data)

    @contextmanager
    def writing(self, key: str) -> Iterator[IO[bytes]]:
        """Write a large object piece by piece.

        It is stored when the block ends without an exception.
        """
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)  # already renamed on success
        sync_directory(target.parent)

    def fetch(self, key: str) -> Path:
        """Return the object's path; NotFound if there is none."""
        path = self._path(key)
        if not path.is_file():
            raise NotFound(f"Nothing is stored at {key}.")
        return path

    def delete(self, prefix: str) -> None:
        """Delete a folder of objects, if it exists."""
        shutil.rmtree(self._path(prefix), ignore_errors=True)

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise ValueError(f"not a key: {key!r}")
        return self._root / parts


def sync_directory(path: Path) -> None:
    """Make the rename itself durable; otherwise a power cut can undo it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
