"""Keep resumable uploads, each with a row and a file.

The file lies under <data_dir>/uploads and is as long as what has arrived. No row counts the bytes, so that what a
killed service has written counts too.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy.orm import Session

from core.db.database import Database
from core.db.tables import Upload
from core.errors import Conflict, NotFound, TooLarge
from core.repositories import uploads as rows
from core.repositories.api_keys import Caller
from core.scopes import Scope
from core.settings import Settings
from service.uploads.disk_space import DiskReserve, full_disk_as_no_space, on_same_disk

STALE_S = 24 * 3600.0  # nobody goes on with one that has been silent for so long


@dataclass(frozen=True)
class OpenUpload:
    """An upload and how much of it has arrived."""

    row: Upload
    offset: int  # bytes
    reserved_until: float  # the space for its rest
    expires_at: float

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def length(self) -> int:
        return self.row.length

    @property
    def is_whole(self) -> bool:
        return self.offset == self.length


class Uploads:
    """The uploads that a caller may touch.

    A key may touch its own, an admin all. To others they are not there. Without keys they are anybody's.
    """

    def __init__(self, settings: Settings, db: Database, caller: Caller | None) -> None:
        self._root = _folder(settings)
        self._reserve = DiskReserve(settings, self._root)
        self._settings = settings
        self._db = db
        self._caller = caller

    def create(self, session: Session, length: int, name: str | None, now: float) -> str:
        """Announce an upload and return its id.

        ``name`` is its file's name, for people. TooLarge, Overloaded when too many have not ended, NoSpace when so much
        would fill the disk. The file is there before the row, which the session's end writes.
        """
        limits, owner = self._settings, self._caller.id if self._caller else None
        if length > limits.max_dataset_bytes:
            raise TooLarge(f"An upload holds at most {limits.max_dataset_bytes} bytes.")
        self._root.mkdir(parents=True, exist_ok=True)
        rows.lock(session)
        rows.require_room(session, limits.max_open_uploads, owner, limits.max_open_uploads_per_key)
        self._reserve.require(length, owed_bytes(session, limits, now))
        upload_id = rows.add(session, length, name, owner, now).id
        self._path(upload_id).touch(exist_ok=False)
        return upload_id

    def page(self, after: str | None, limit: int) -> tuple[list[OpenUpload], str | None]:
        """List a page of uploads, newest first, and the next page's ``after``.

        That is None on the last page.
        """
        caller = self._caller
        owner = None if caller is None or caller.may(Scope.ADMIN) else caller.id
        with self._db.read() as session:
            found, more = rows.page(session, after, limit, owner)
        there = [upload for row in found if (upload := _opened(self._settings, row))]
        return there, found[-1].id if more else None

    def get(self, upload_id: str) -> OpenUpload:
        """Return an open upload.

        Raise NotFound also for another key's, and for one that was used up or expired.
        """
        with self._db.read() as session:
            row = rows.find(session, upload_id)
        upload = _opened(self._settings, row) if row and self._may_touch(row.owner) else None
        if upload is None:
            raise _unknown()
        return upload

    @contextmanager
    def writing(self, upload_id: str, offset: int) -> Iterator["Piece"]:
        """Open an upload for its next piece at ``offset``.

        Raise Conflict if that is not where it continues, or while another request writes, through whatever service.
        """
        self._expect(upload_id, offset)
        with self._alone(upload_id) as keep_place:
            upload = self._expect(upload_id, offset)
            try:
                # whatever has come is there after a kill
                with full_disk_as_no_space(), self._path(upload_id).open("r+b", buffering=0) as file:
                    file.seek(offset)
                    yield Piece(file, upload.length, self._reserve, keep_place)
            except FileNotFoundError as error:
                raise _unknown() from error

    def _expect(self, upload_id: str, offset: int) -> OpenUpload:
        upload = self.get(upload_id)
        if offset != upload.offset:
            raise Conflict(f"The upload continues at offset {upload.offset}, not {offset}.")
        return upload

    @contextmanager
    def _alone(self, upload_id: str) -> Iterator[Callable[[], None]]:
        """Hold the only place to write; yield what keeps it, to be called before each write."""
        writer, noted = uuid.uuid4().hex, time.monotonic()
        with self._db.write() as session:
            if not rows.begin_piece(session, upload_id, writer, time.time()):
                raise Conflict("Another request is writing this upload: try again in a moment.")

        def keep_place() -> None:
            nonlocal noted
            if time.monotonic() - noted < rows.SILENT_S / 3:
                return
            with self._db.write() as session:
                if not rows.still_writes(session, upload_id, writer, time.time()):
                    raise Conflict("Another request writes this upload, since this one was silent.")
            noted = time.monotonic()

        try:
            yield keep_place
        finally:
            with self._db.write() as session:
                rows.end_piece(session, upload_id, writer)

    @contextmanager
    def using(self, upload_id: str) -> Iterator[Path]:
        """Lend a whole upload's file to one request at a time.

        Raise Conflict while some of it is missing or another request has it.
        """
        upload = self.get(upload_id)
        if not upload.is_whole:
            raise Conflict(f"{upload.offset} of the upload's {upload.length} bytes have arrived: send the rest first.")
        path = self._path(upload_id)
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict("Another request is using this upload.") from error
            self.get(upload_id)  # it may be used up since
            yield path

    def remove(self, upload_id: str) -> None:
        """Delete an upload's row, then its file.

        A piece that is still arriving ends with NotFound.
        """
        self.get(upload_id)
        with self._db.write() as session:
            rows.remove(session, upload_id)
        self._path(upload_id).unlink(missing_ok=True)

    def _may_touch(self, owner: str | None) -> bool:
        caller = self._caller
        return caller is None or caller.id == owner or caller.may(Scope.ADMIN)

    def _path(self, upload_id: str) -> Path:
        """Return an upload's file.

        Call it with the id of a row: no other text may become a path.
        """
        return self._root / upload_id


class Piece:
    """A writer of a piece's bytes at the end of an upload."""

    def __init__(self, file: IO[bytes], length: int, reserve: DiskReserve, keep_place: Callable[[], None]) -> None:
        self._file = file
        self._keep_place = keep_place
        self._length = length
        self._reserve = reserve

    def write(self, data: bytes) -> int:
        """Write bytes and return the offset after them.

        Raise TooLarge or NoSpace, and keep none of them.
        """
        self._keep_place()
        if os.fstat(self._file.fileno()).st_nlink == 0:
            raise _unknown()
        if self._file.tell() + len(data) > self._length:
            raise TooLarge(f"The upload was created for {self._length} bytes, and this is more.")
        self._reserve.require(len(data))
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        return self._file.tell()


def owed_bytes(session: Session, settings: Settings, now: float) -> int:
    """Add up the bytes that open uploads may still write.

    An upload that has been silent for a while has no claim to space.
    """
    found = (_opened(settings, row) for row in rows.everyone(session))
    return sum(upload.length - upload.offset for upload in found if upload and upload.reserved_until > now)


def require_room_for_body(settings: Settings, db: Database, folder: Path, length: int, now: float) -> None:
    """Raise NoSpace if a body does not fit beside open uploads.

    The body has ``length`` bytes; the uploads claim what they may still write.
    """
    owed = 0
    if on_same_disk(folder, settings.data_dir):
        with db.read() as session:
            owed = owed_bytes(session, settings, now)
    DiskReserve(settings, folder).require(length, owed)


def sweep(settings: Settings, db: Database, now: float) -> None:
    """Delete expired uploads and orphaned rows or files.

    A killed service may leave such orphans.
    """
    root = _folder(settings)
    with db.write() as session:
        known = {row.id: _opened(settings, row) for row in rows.everyone(session)}
        ended = [upload_id for upload_id, upload in known.items() if upload is None or upload.expires_at < now]
        for upload_id in ended:
            rows.remove(session, upload_id)
    for upload_id in ended:
        (root / upload_id).unlink(missing_ok=True)
    for file in root.glob("*"):
        with suppress(FileNotFoundError):
            if file.name not in known and file.stat().st_mtime + STALE_S < now:  # no row is about to be written
                file.unlink()


def _opened(settings: Settings, row: Upload) -> OpenUpload | None:
    """Read an upload's file; None if it ended since its row."""
    try:
        found = (_folder(settings) / row.id).stat()
    except FileNotFoundError:
        return None
    reserved_until = found.st_mtime + settings.upload_reservation_s
    return OpenUpload(row, found.st_size, reserved_until, found.st_mtime + STALE_S if found.st_size else reserved_until)


def _folder(settings: Settings) -> Path:
    return settings.data_dir / "uploads"


def _unknown() -> NotFound:
    return NotFound("There is no such upload: it was never begun, was used up, or went after a day.")
