"""Read the names in a zip one by one.

Python's own reader makes objects of all of them first, and a gigabyte can name millions: what somebody sends is
measured and counted here before that reader sees it.

Layout: PKWARE's APPNOTE.TXT, 4.3.12 (directory), 4.3.14 to 4.3.16 (its end, with the 64-bit form), 4.6.9 (Info-ZIP's
name in Unicode).
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from zipfile import ZipInfo
from zlib import crc32

from core.errors import InvalidInput, TooLarge

ENTRY, END, END_64, LOCATOR_64 = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"  # signatures
STARTS = (b"PK\x03\x04", END)  # of a file: its first member, or an empty zip's end
ENTRY_BYTES, END_BYTES, END_64_BYTES, LOCATOR_64_BYTES = 46, 22, 56, 20
MAX_COMMENT_LENGTH = 2**16 - 1
UTF_8 = 0x800  # an entry's flag
UNICODE_PATH = 0x7075  # an extra field: the name in UTF-8, and a checksum of the other one
LEGACY = "cp437"  # of names that nothing says more about
GARBLED = (
    "Its name may be garbled: the zip does not say how it is encoded (GBK? Shift-JIS?). Pack it with names in UTF-8."
)


def names(path: Path, max_bytes: int) -> Iterator[str]:
    """Yield each name in a zip's directory.

    InvalidInput if the file is no zip or a damaged one; TooLarge if the directory is longer than ``max_bytes``.
    """
    with path.open("rb") as file:
        start, end = _find(file, path.stat().st_size)
        if end - start > max_bytes:
            raise TooLarge(
                f"The zip's directory has {end - start} bytes; {max_bytes} are allowed "
                "(TUNESERVE_MAX_ZIP_DIRECTORY_BYTES): send fewer files at a time."
            )
        file.seek(start)
        while file.tell() < end:
            head = file.read(ENTRY_BYTES)
            if len(head) < ENTRY_BYTES or not head.startswith(ENTRY):
                raise _no_zip()
            flags = struct.unpack_from("<H", head, 8)[0]
            of_name, of_extra, of_comment = struct.unpack_from("<3H", head, 28)
            name, extra = file.read(of_name), file.read(of_extra)
            yield decode_name(name, flags, extra)[0]
            file.seek(of_comment, 1)


def name_of(entry: ZipInfo) -> tuple[str, bool]:
    """Decode the name of an entry that Python's reader found; see ``decode_name``."""
    name = entry.orig_filename.encode("utf-8" if entry.flag_bits & UTF_8 else LEGACY)
    return decode_name(name, entry.flag_bits, entry.extra)


def decode_name(name: bytes, flags: int, extra: bytes) -> tuple[str, bool]:
    """Decode a name in a zip, and whether its encoding is known.

    Of an unknown encoding, such as GBK or Shift-JIS, the name may be garbled. A name without the flag for UTF-8 has
    Info-ZIP's field, or is UTF-8 where it can be: few programs set the flag.
    """
    is_utf_8 = bool(flags & UTF_8)
    try:
        text, is_known = (name if is_utf_8 else _unicode_path(name, extra) or name).decode(), True
    except UnicodeDecodeError:
        if is_utf_8:
            raise _no_zip() from None
        text, is_known = name.decode(LEGACY), False
    return text.partition("\0")[0], is_known


def _unicode_path(name: bytes, extra: bytes) -> bytes | None:
    """Return Info-ZIP's name in UTF-8, unless the entry was renamed since."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        at += 4
        if kind == UNICODE_PATH and extra[at : at + 5] == b"\x01" + struct.pack("<I", crc32(name)):
            return extra[at + 5 : at + size]
        at += size
    return None


def _find(file: IO[bytes], size: int) -> tuple[int, int]:
    """Find the start and end of the zip's directory.

    It lies just before its end record, whatever stands before the zip.
    """
    at = _end_record(file, size)
    end, (length,) = at, _read(file, at + 12, "<I")
    if at >= LOCATOR_64_BYTES + END_64_BYTES and _signature(file, at - LOCATOR_64_BYTES) == LOCATOR_64:
        end = at - LOCATOR_64_BYTES - END_64_BYTES
        if _signature(file, end) != END_64:
            raise _no_zip()
        (length,) = _read(file, end + 40, "<Q")
    if length > end:
        raise _no_zip()
    return end - length, end


def _end_record(file: IO[bytes], size: int) -> int:
    """Return the offset of the zip's end-of-directory record.

    It is the last part of the file, but for a comment.
    """
    tail_at = max(0, size - END_BYTES - MAX_COMMENT_LENGTH)
    file.seek(tail_at)
    tail = file.read()
    if tail[-END_BYTES:].startswith(END) and tail.endswith(b"\0\0"):
        return size - END_BYTES
    found = tail.rfind(END)
    if found < 0 or found + END_BYTES > len(tail):
        raise _no_zip()
    return tail_at + found


def _signature(file: IO[bytes], at: int) -> bytes:
    file.seek(at)
    return file.read(4)


def _read(file: IO[bytes], at: int, form: str) -> tuple[int, ...]:
    file.seek(at)
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _no_zip() -> InvalidInput:
    return InvalidInput("This is not a zip, or a damaged one.")
