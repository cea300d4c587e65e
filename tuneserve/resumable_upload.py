"""A large file sent in pieces, which goes on where it broke off."""

import time
from collections.abc import Callable
from pathlib import Path

from tuneserve.client import Client, ServiceError, ServiceUnreachable

PIECE_BYTES = 8 * 2**20
PATIENCE_S = 60.0  # in which nothing gets through
PAUSE_S = 0.5

Told = Callable[[int, int], None]  # how many bytes have come, and of how many


def send(
    client: Client, file: Path, told: Told, piece_bytes: int = PIECE_BYTES, pause: Callable[[float], None] = time.sleep
) -> str:
    """The upload's id. ServiceError when it is refused, or the service stays away."""
    length = file.stat().st_size
    upload_id = client.begin_upload(length)
    offset, misses = 0, 0
    with file.open("rb") as content:
        while offset < length:
            told(offset, length)
            try:
                if misses:  # some of the last piece may have come
                    offset = client.upload_offset(upload_id)
                content.seek(offset)
                offset, misses = client.send_piece(upload_id, offset, content.read(piece_bytes)), 0
            except ServiceError as error:
                misses += 1
                if not _passes(error) or misses * PAUSE_S > PATIENCE_S:
                    raise
                pause(PAUSE_S)
    told(length, length)
    return upload_id


def _passes(error: ServiceError) -> bool:
    """Not reached, in trouble, or still writing what came before the break."""
    return isinstance(error, ServiceUnreachable) or error.status in (409, 429) or error.status >= 500
