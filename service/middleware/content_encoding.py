"""Read bodies that come compressed by gzip, a piece at a time."""

import zlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import InvalidInput, TooLarge, UnsupportedType
from service.web.asgi import header

PIECE = 2**20  # bytes, of what is decompressed at a time
MAX_RATIO = 200  # once more than a piece has come: photos have 1, digits as JSON 20, zeros 1,000
OWN = (b"content-encoding", b"content-length")
GZIP = 16 + zlib.MAX_WBITS


class ContentEncoding:
    """Decompress gzipped request bodies.

    Other encodings raise UnsupportedType for whoever reads the body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_body = scope["type"] == "http" and scope["method"] not in ("GET", "HEAD")  # of them nothing is read
        encoding = header(scope, b"content-encoding").strip().lower() if has_body else ""
        if encoding in ("gzip", "x-gzip"):
            receive = _Decompressed(receive)
            scope["headers"] = [one for one in scope["headers"] if one[0] not in OWN]
        elif encoding not in ("", "identity"):
            receive = _refusing(encoding)
        await self._app(scope, receive, send)


def _refusing(encoding: str) -> Receive:
    async def refuse() -> Message:
        raise UnsupportedType(f"Content-Encoding {encoding[:50]!a} is not accepted: send gzip, or the body as it is.")

    return refuse


class _Decompressed:
    """Receive decompressed messages of at most a PIECE.

    It does not matter how much a piece of the sent body unpacks to.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gzip = zlib.decompressobj(GZIP)
        self._waiting = b""  # compressed, and here already
        self._more, self._over = True, False
        self._compressed = self._decompressed = 0

    async def __call__(self) -> Message:
        if self._over:
            return await self._receive()  # of a client that leaves
        while self._more and not self._waiting:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._waiting, self._more = message.get("body", b""), message.get("more_body", False)
        piece = self._next() if self._waiting else b""
        self._over = not (self._waiting or self._more)
        if self._over and self._compressed and not self._gzip.eof:
            raise InvalidInput("The body is cut off: its gzip has no end.")
        return {"type": "http.request", "body": piece, "more_body": not self._over}

    def _next(self) -> bytes:
        if self._gzip.eof:
            self._gzip = zlib.decompressobj(GZIP)  # another member follows
        try:
            piece = self._gzip.decompress(self._waiting, PIECE)
        except zlib.error as error:
            raise InvalidInput("The body is not gzip, as Content-Encoding says.") from error
        rest = self._gzip.unconsumed_tail or self._gzip.unused_data
        self._compressed += len(self._waiting) - len(rest)
        self._waiting = rest
        self._decompressed += len(piece)
        self._refuse_bombs()
        return piece

    def _refuse_bombs(self) -> None:
        """Refuse gzip that unpacks to far too much or to nothing."""
        if self._decompressed > max(PIECE, MAX_RATIO * self._compressed):
            raise TooLarge(f"The body holds more than {MAX_RATIO} times its own bytes: send it uncompressed.")
        if self._compressed > self._decompressed + PIECE:
            raise InvalidInput("The body's gzip holds nothing.")
