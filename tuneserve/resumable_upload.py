"""Resumable upload of a large file in pieces."""

import time
from collections.abc import Callable
from pathlib import Path

from tuneserve.client import Client, ServiceError, ServiceUnreachable

PIECE_BYTES = 8 * 2**20
MAX_RETRY_S = 60.0  # without success, the upload fails
PAUSE_S = 0.5

ReportProgress = Callable[[int, int], None]  # bytes sent, and bytes in all


def send(
    client: Client,
    file: Path,
    report: ReportProgress,
    piece_bytes: int = PIECE_BYTES,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Upload a file and return the upload's id.

    ServiceError if the service rejects it or stays unreachable.
    """
    length = file.stat().st_size
    upload_id = client.begin_upload(length, file.name)
    offset, misses = 0, 0
    with file.open("rb") as content:
        while offset < length:
            report(offset, length)
            try:
                if misses:  # part of the last piece may have arrived
                    offset = client.upload_offset(upload_id)
                content.seek(offset)
                offset, misses = client.send_piece(upload_id, offset, content.read(piece_bytes)), 0
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
