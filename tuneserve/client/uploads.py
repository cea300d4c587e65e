"""Calls for resumable uploads, after https://tus.io."""

from base64 import b64encode

import httpx

from tuneserve.client.connection import Connection
from tuneserve.folder_zip import sendable_name
from tuneserve.types import Upload

TUS = {"Tus-Resumable": "1.0.0"}  # https://tus.io/protocols/resumable-upload
PIECE = {"Content-Type": "application/offset+octet-stream"}


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


def _offset_in(answer: httpx.Response) -> int:
    return int(answer.headers["upload-offset"])
