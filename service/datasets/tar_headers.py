"""Read tar files with bounds on the headers' cost.

Extended headers (pax, GNU's long names) are read whole, by expressions that take time quadratic in their length in
Pythons before 3.11.10 (CVE-2024-6232), and sparse maps without a bound. Here both are looked at before tarfile is.
"""

import re
import tarfile
from typing import IO, Self, cast

MAX_EXTENDED_BYTES = 8 * 1024  # of all extended headers before one member
PASSED_OVER = b"?"  # a type that tarfile does not know: it skips the content
PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
EXTENDED = (*PAX, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, PASSED_OVER)
SPARSE = b"GNU.sparse."
LONG_NUMBER = re.compile(rb"\d{1000}")
LENGTH = re.compile(rb"(\d{1,5}) [^=\n]+=")  # of a pax record, and its keyword


class BoundBroken(tarfile.ReadError):
    """A header in this tar costs more than it should."""


def open_tar(stream: IO[bytes]) -> tarfile.TarFile:
    """Open a tar with bounded headers.

    Raise tarfile.ReadError if it is none; here and later, BoundBroken.
    """
    bounded = _Bounded(stream)

    class Info(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            info = super().frombuf(buf, encoding, errors)
            bounded.announce(info)
            return info

    return tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:", tarinfo=Info)


class _Bounded:
    """A file object for tarfile that bounds what headers announce."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.seek = stream.seek
        self.tell = stream.tell
        self._stream = stream
        self._extended_bytes = 0
        self._pax_follows = False

    def announce(self, header: tarfile.TarInfo) -> None:
        """Take note of a header before tarfile reads what it announces."""
        if header.size < 0:
            raise BoundBroken("a size is negative")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise _sparse()
        if header.type == tarfile.XGLTYPE:
            header.type = PASSED_OVER  # of all later members: git's holds a comment
        self._pax_follows = header.type in PAX
        if header.type not in EXTENDED:
            self._extended_bytes = 0
            return
        self._extended_bytes += max(header.size, tarfile.BLOCKSIZE)
        if self._extended_bytes > MAX_EXTENDED_BYTES:
            raise BoundBroken(f"an extended header is longer than {MAX_EXTENDED_BYTES} bytes")

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if self._pax_follows:
            self._pax_follows = False
            _check_records(data)
        return data


def _check_records(data: bytes) -> None:
    """Check that a pax header is a row of valid records.

    A record is ``length keyword=value`` and a newline. tarfile reads those in linear time.
    """
    if SPARSE in data:
        raise _sparse()
    if LONG_NUMBER.search(data):
        raise BoundBroken("an extended header holds a number of a thousand digits")
    at = 0
    while at < len(data) and data[at]:
        record = LENGTH.match(data, at)
        end = at + int(record[1]) if record else 0
        if record is None or end < record.end() or data[end - 1 : end] != b"\n":
            raise BoundBroken("an extended header is damaged")
        at = end


def _sparse() -> BoundBroken:
    return BoundBroken("it holds sparse files: pack it without --sparse")
