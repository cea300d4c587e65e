"""Decode large images: ``python -m service.inference.decode_process MAX_BYTES PARENT``.

It prepares them too. It can be killed at any moment. Frames go both ways: JSON, then bytes. The first, empty one says
that the process is ready. A request is answered by the memory that it needs and, if the byte GO comes, by its canonical
image. The end of the input ends the process, and so does the death of the service, PARENT. It imports no more than that
takes.
"""

import json
import resource
import struct
import sys
from typing import Any, BinaryIO

import numpy as np

from core.errors import InvalidInput
from core.imaging.decoding import bytes_needed, decode
from core.imaging.preparation import Preparation, Prepared, prepare
from core.parent_death import die_with

LENGTHS = struct.Struct("<QQ")  # of the JSON, and of the bytes behind it
BASE_BYTES = 2**28  # libraries, stacks, and what comes besides the picture
GO, STOP = b"\n", b"\0"


def main() -> None:
    die_with(int(sys.argv[2]))
    limit = int(sys.argv[1]) + BASE_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _send(frame({}))
    while header := sys.stdin.buffer.read(LENGTHS.size):
        text, data = (_read(sys.stdin.buffer, length) for length in LENGTHS.unpack(header))
        _answer(json.loads(text), data)


def frame(values: dict[str, Any], content: bytes = b"") -> bytes:
    """Pack JSON and bytes."""
    text = json.dumps(values).encode()
    return LENGTHS.pack(len(text), len(content)) + text + content


def _answer(request: dict[str, Any], data: bytes) -> None:
    """Send the memory that a request needs, then its image.

    The image follows once GO comes. An error may be sent in either place.
    """
    try:
        _send(frame({"bytes": bytes_needed(data, request["max_pixels"])}))
        if _read(sys.stdin.buffer, len(GO)) == GO:
            preparation = Preparation(**request["preparation"])
            _send(_packed(prepare(decode(data, request["max_pixels"]), preparation, request["preprocess"])))
    except InvalidInput as error:
        _send(frame({"error": error.code, "detail": str(error)}))


def _packed(prepared: Prepared) -> bytes:
    values = {"shape": prepared.pixels.shape, "preprocessing": prepared.preprocessing, "blank": prepared.blank}
    return frame(values, np.ascontiguousarray(prepared.pixels).tobytes())


def unpacked(values: dict[str, Any], content: bytes) -> Prepared:
    """Undo ``_packed``."""
    pixels = np.frombuffer(content, np.uint8).reshape(values["shape"])
    return Prepared(pixels, values["preprocessing"], values["blank"])


def _read(source: BinaryIO, length: int) -> bytes:
    data = source.read(length)
    if len(data) < length:
        sys.exit(0)  # the service is gone
    return data


def _send(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
