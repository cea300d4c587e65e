"""Send request lines and headers that break limits, over raw sockets.

They are far too long, too many, or come in small pieces.
"""

import asyncio
from dataclasses import dataclass
from random import Random

from tests.support.fuzzing.mutations import spoilt

HOST = b"Host: localhost\r\n"
LINE = b"GET /livez HTTP/1.1\r\n" + HOST
SIZES = (10, 1_000, 30_000, 32_000, 33_000, 100_000, 2**20)
PATIENCE_S = 60.0  # for an answer, whose request has a deadline in the service
CONCURRENCY = 8
NOTHING = 0  # closed without an answer: to what cannot be told from HTTP of another version, or was reset


@dataclass(frozen=True)
class Flood:
    pieces: list[bytes]
    is_whole: bool  # nothing of it is spoilt, and its last line is there

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces))


def flood(chance: Random) -> Flood:
    size = chance.choice(SIZES)
    whole = chance.choice((_long_target, _long_header, _many_headers, _long_name))(size)
    end = chance.choice((b"\r\n", b"\r\n", b"\r\n", b""))  # or not: it stands still
    data = spoilt(chance, whole + end, 0.2)
    return Flood(_in_pieces(chance, data), data == whole + b"\r\n")


def _long_target(size: int) -> bytes:
    return b"GET /livez?" + b"a" * size + b" HTTP/1.1\r\n" + HOST


def _long_header(size: int) -> bytes:
    return LINE + b"x-header: " + b"a" * size + b"\r\n"


def _long_name(size: int) -> bytes:
    return LINE + b"x" * size + b": a\r\n"


def _many_headers(size: int) -> bytes:
    return LINE + b"x-header: a\r\n" * (size // 13)


def _in_pieces(chance: Random, data: bytes) -> list[bytes]:
    """Cut data into pieces.

    There is one piece, two halves, or the first hundred bytes one by one.
    """
    cuts = chance.choice(([], [len(data) // 2], list(range(1, 100))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end]


async def answer_to(flood: Flood, port: int) -> int:
    """Send a flood and return the status.

    Raise TimeoutError if the service neither answers nor closes.
    """
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in flood.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            line = await reader.readline()
        except ConnectionError:  # refused while more was on its way
            line = b""
        finally:
            writer.close()
    return int(line.split()[1]) if line else NOTHING


def fault_of(flood: Flood, status: int, max_bytes: int) -> str | None:
    """Say what is wrong with an answer, if something is."""
    if status >= 500:
        return f"{status}: an error of the service"
    if flood.is_whole and flood.size > max_bytes and status not in (431, NOTHING):
        return f"{status} to {flood.size} bytes of headers"
    if flood.is_whole and flood.size <= max_bytes and status == 431:
        return f"431 to {flood.size} bytes of headers"
    return None
