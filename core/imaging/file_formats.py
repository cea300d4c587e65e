"""Check PNG and JPEG files before decoding, and repair damaged ones."""

import re
import struct
import zlib
from collections.abc import Iterator

MAX_SCANS = 64  # of a JPEG; encoders write about ten, and each costs a pass over all pixels
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
END_OF_IMAGE, START_OF_SCAN = b"\xff\xd9", b"\xff\xda"
MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")  # of a segment with a length, or the end
RESTART = re.compile(rb"\xff([\xd0-\xd7])")
FURTHER = bytes(range(1, 255)) * 4  # any Huffman table reads coefficients from these; no 0xff, which begins a marker
LENGTH_AND_NAME = struct.Struct(">I4s")
MAX_BITS = 16  # of a sample
KEPT_CHUNKS = (b"tRNS", b"sBIT", b"eXIf")  # of those that a PNG can be shown without


def has_too_many_scans(data: bytes) -> bool:
    """Count the scans of a JPEG, without decoding any."""
    if data.count(START_OF_SCAN) <= MAX_SCANS:  # those in a thumbnail or a profile included
        return False
    scans, place = 0, len(JPEG)
    while scans <= MAX_SCANS and (found := MARKER.search(data, place)):
        if found[0] == END_OF_IMAGE:
            break
        scans += found[0] == START_OF_SCAN
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return scans > MAX_SCANS


def completed(data: bytes) -> tuple[bytes, bytes]:
    """Complete a JPEG without end marker in two ways.

    One has only the marker appended, the other has further coefficients before it.

    The pictures of the two are the same if the file lacks nothing else: what follows the last coefficient is skipped.
    """
    restarts = [number[0] for number in RESTART.findall(data)]
    first = restarts[-1] - 0xD0 + 1 if restarts else 0
    intervals = (bytes((0xFF, 0xD0 + (first + place) % 8)) + FURTHER for place in range(8))
    return data + END_OF_IMAGE, data + FURTHER + b"".join(intervals) + END_OF_IMAGE


def is_progressive(data: bytes) -> bool:
    """Check whether a JPEG may be progressive.

    A progressive JPEG's decoder holds every coefficient in memory.
    """
    return data.find(b"\xff\xc2") >= 0


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield each PNG chunk: its name, bytes and whether they are right.

    The bytes are the whole chunk, which is right if it is complete and its checksum fits.
    """
    place = len(PNG)
    while place + 12 <= len(data):
        length, name = LENGTH_AND_NAME.unpack_from(data, place)
        chunk = data[place : place + 12 + length]
        yield name, chunk, len(chunk) == 12 + length and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        place += len(chunk)


def essential_png(data: bytes) -> bytes:
    """Keep only the PNG chunks that a picture needs.

    Texts and profiles are left out, and of damaged chunks all but the critical ones, such as pixels.
    """
    chunks = (chunk for name, chunk, right in png_chunks(data) if name[:1].isupper() or (right and name in KEPT_CHUNKS))
    return PNG + b"".join(chunks)


def significant_bits(data: bytes) -> int | None:
    """Return how many bits of a PNG's samples are significant.

    That is the largest value of its sBIT chunk; None without a valid one.
    """
    for name, chunk, right in png_chunks(data):
        if name == b"IDAT":
            return None
        if name == b"sBIT" and right:
            return bits if 0 < (bits := max(chunk[8:-4], default=0)) <= MAX_BITS else None
    return None
