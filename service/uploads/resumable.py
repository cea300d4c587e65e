"""Uploads that may break off and go on: a file each under <data_dir>/uploads, as long as what has come of it.

Its name tells how long it will be, so that the file is all there is: what a killed service has written counts too.
"""

import fcntl
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from core.errors import Conflict, NoSpace, NotFound, Overloaded, TooLarge, is_disk_full
from core.settings import Settings
from service.uploads.disk_space import free_bytes

NAME = re.compile(r"[0-9a-f]{32}-(0|[1-9][0-9]{0,17})")  # a random number, and the length in bytes
STALE_S = 24 * 3600.0  # nobody goes on with one that has been silent for so long


@dataclass(frozen=True)
class Upload:
    id: str
    length: int  # bytes, in the end
    offset: int  # bytes that have come

    @property
    def is_whole(self) -> bool:
        return self.offset == self.length


class Uploads:
    def __init__(self, settings: Settings) -> None:
        self._root = settings.data_dir / "uploads"
        self._settings = settings

    def create(self, length: int) -> Upload:
        """TooLarge, Overloaded when too many have not ended, NoSpace when so much would fill the disk."""
        if length > self._settings.max_dataset_bytes:
            raise TooLarge(f"An upload holds at most {self._settings.max_dataset_bytes} bytes.")
        self._root.mkdir(parents=True, exist_ok=True)
        if sum(1 for _ in self._root.iterdir()) >= self._settings.max_open_uploads:
            raise Overloaded("Too many uploads are open: DELETE one, or wait for the day after which they go.", 60)
        if free_bytes(self._root) - length < self._settings.min_free_bytes:
            raise NoSpace(f"{length} bytes more do not fit on the disk of TUNESERVE_DATA_DIR.")
        upload = Upload(f"{secrets.token_hex(16)}-{length}", length, 0)
        (self._root / upload.id).touch(exist_ok=False)
        return upload

    def get(self, upload_id: str) -> Upload:
        """NotFound; also for one that was used up, or went after a day."""
        try:
            return Upload(upload_id, _length(upload_id), self._path(upload_id).stat().st_size)
        except FileNotFoundError as error:
            raise _unknown() from error

    @contextmanager
    def writing(self, upload_id: str, offset: int) -> Iterator["Piece"]:
        """What comes next. Conflict when it is not what is missing."""
        upload = self.get(upload_id)
        if offset != upload.offset:
            raise Conflict(f"The upload goes on at {upload.offset}, not at {offset}.")
        try:
            with self._path(upload_id).open("r+b", buffering=0) as file:  # whatever has come is there after a kill
                file.seek(offset)
                yield Piece(file, upload.length)
        except FileNotFoundError as error:
            raise _unknown() from error
        except OSError as error:
            if is_disk_full(error):
                raise NoSpace("The disk of the uploads is full.") from error
            raise

    @contextmanager
    def using(self, upload_id: str) -> Iterator[Path]:
        """The whole file, for one request at a time. Conflict while some of it is missing, or another one has it."""
        upload = self.get(upload_id)
        if not upload.is_whole:
            raise Conflict(f"{upload.offset} of the upload's {upload.length} bytes have come: send the others first.")
        path = self._path(upload_id)
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict("Another request is using this upload.") from error
            self.get(upload_id)  # it may be used up since
            yield path

    def remove(self, upload_id: str) -> None:
        self.get(upload_id)
        self._path(upload_id).unlink(missing_ok=True)

    def sweep(self, now: float) -> None:
        """Remove those to which nothing has come for a day."""
        for entry in self._root.glob("*-*"):
            with suppress(FileNotFoundError):  # another process of the service sweeps too
                if now - entry.stat().st_mtime > STALE_S:
                    entry.unlink()

    def _path(self, upload_id: str) -> Path:
        if not NAME.fullmatch(upload_id):
            raise _unknown()
        return self._root / upload_id


class Piece:
    """Bytes on their way to their place."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file = file
        self._length = length

    def write(self, data: bytes) -> int:
        """The offset behind them. TooLarge: more than were announced, of which none is kept."""
        if self._file.tell() + len(data) > self._length:
            raise TooLarge(f"The upload was to have {self._length} bytes, and this is more.")
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        return self._file.tell()


def _length(upload_id: str) -> int:
    found = NAME.fullmatch(upload_id)
    if found is None:
        raise _unknown()
    return int(found[1])


def _unknown() -> NotFound:
    return NotFound("There is no such upload: it was never begun, was used up, or went after a day.")
