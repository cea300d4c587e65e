"""Read a multipart form as programs write it.

Not every file comes with a plain file name.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import unquote_to_bytes

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

FILENAME = re.compile(rb";\s*filename\s*=", re.IGNORECASE)
EXTENDED = re.compile(rb";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)  # RFC 5987
FILE_TYPES = (b"image/", b"application/octet-stream", b"application/zip")


@asynccontextmanager
async def open_form(
    request: Request, max_files: int, require_space: Callable[[int], None] | None = None
) -> AsyncIterator[FormData]:
    """Parse the form and close its files in the end.

    Raise HTTPException, which says what is wrong with it. ``require_space`` is called in a thread with the size of each
    piece, before that is spooled; what it raises ends it.
    """
    pieces = request.stream()
    if require_space:
        pieces = _guarded(pieces, require_space)
    try:
        form = await _Parser(request.headers, pieces, max_files=max_files).parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error
    try:
        yield form
    finally:
        await form.close()


async def _guarded(
    pieces: AsyncGenerator[bytes, None], require_space: Callable[[int], None]
) -> AsyncGenerator[bytes, None]:
    async for piece in pieces:
        await run_in_threadpool(require_space, len(piece))
        yield piece


class _Parser(MultiPartParser):
    """Starlette's parser, to which a file is what has a ``filename``."""

    def on_headers_finished(self) -> None:
        part = self._current_part
        disposition = part.content_disposition or b""
        if not FILENAME.search(disposition):
            name = EXTENDED.search(disposition)
            if name or dict(part.item_headers).get(b"content-type", b"").lower().startswith(FILE_TYPES):
                part.content_disposition = disposition + b'; filename="%s"' % _quoted(name[1] if name else b"")
        super().on_headers_finished()


def _quoted(name: bytes) -> bytes:
    return unquote_to_bytes(name).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
