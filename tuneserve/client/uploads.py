"""Calls for resumable uploads, after https://tus.io."""

import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import httpx

from tuneserve.client.connection import Connection
from tuneserve.client.errors import ServiceError, ServiceUnreachable
from tuneserve.folder_zip import sendable_name
from tuneserve.types import Upload

TUS = {"Tus-Resumable": "1.0.0"}  # https://tus.io/protocols/resumable-upload
PIECE = {"Content-Type": "application/offset+octet-stream"}
PIECE_BYTES = 8 * 2**20
MAX_RETRY_S = 60.0  # without success, the upload fails
PAUSE_S = 0.5

Report = Callable[[int, int], None]  # bytes sent, and bytes in all


class UploadCalls(Connection):
    """Send large files in pieces."""

    def begin_upload(self, length: int, name: str = "") -> str:
        """Begin a resumable upload of ``length`` bytes; return its id.

        ``name`` is shown in the list of uploads.
        """
        headers = TUS | {"Upload-Length": str(length)}
        if name:
            headers["Upload-Metadata"] = f"filename {b64encode(sendable_name(name).encode()).decode()}"
        answer = self._accepted("POST", "/uploads", headers=headers)
        return str(answer.headers["location"]).rpartition("/")[2]

    def send_piece(self, upload_id: str, offset: int, data: bytes) -> int:
        """Upload the bytes at ``offset``; return the new offset."""
        headers = TUS | PIECE | {"Upload-Offset": str(offset)}
        return _offset_in(self._accepted("PATCH", f"/uploads/{upload_id}", headers=headers, content=data))

    def uploads(self, limit: int = 20) -> list[Upload]:
        """Return the newest open uploads of the own key.

        With the scope admin, those of all keys.
        """
        return self._pages(Upload, "/uploads", limit)

    def upload_offset(self, upload_id: str) -> int:
        return _offset_in(self._accepted("HEAD", f"/uploads/{upload_id}", headers=TUS))

    def end_upload(self, upload_id: str) -> None:
        """Delete an upload."""
        self._accepted("DELETE", f"/uploads/{upload_id}", headers=TUS)

    def send_file(
        self, file: Path, report: Report, piece_bytes: int = PIECE_BYTES, pause: Callable[[float], None] = time.sleep
    ) -> str:
        """Upload a file in pieces and return the upload's id.

        ServiceError if the service rejects it or stays unreachable.
        """
        length = file.stat().st_size
        upload_id = self.begin_upload(length, file.name)
        offset, misses = 0, 0
        with file.open("rb") as content:
            while offset < length:
                report(offset, length)
                try:
                    if misses:  # part of the last piece may have arrived
                        offset = self.upload_offset(upload_id)
                    content.seek(offset)
                    offset, misses = self.send_piece(upload_id, offset, content.read(piece_bytes)), 0
                except ServiceError as error:
                    misses += 1
                    if not _is_transient(error) or misses * PAUSE_S > MAX_RETRY_S:
                        raise
                    pause(PAUSE_S)
        report(length, length)
        return upload_id


def _is_transient(error: ServiceError) -> bool:
    """Check whether a retry may help.

    It may if the service is not reachable, is overloaded, or still writes the last piece.
    """
    return isinstance(error, ServiceUnreachable) or error.status in (409, 429) or error.status >= 500


def _offset_in(answer: httpx.Response) -> int:
    return int(answer.headers["upload-offset"])
