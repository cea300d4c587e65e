"""Mutate valid requests: images, bodies, archives and headers.

Something in each is not as it should be.
"""

import base64
import gzip
import io
import json
import struct
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from tests.conftest import DIGIT_FILES
from tests.support.datafiles import idx, pax_record, tar, tar_gz, tar_header, zipped
from tests.support.imagefiles import wide
from tests.support.setfiles import deep, pets, photo, rotated

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "PPM")
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**63, 10**400, 1e308, float("inf"), float("nan"), -0.0),
    *("", "\0", "\ud800", "ä" * 300, "../../etc/passwd", "x" * 5000, "model_none", "1e999", "%00"),
    *([], {}, [[]], [[1, 2], [3]], {"": {}}, [None] * 50),
)
ODD_TEXT = (
    *("", " ", "\0", "\xff\xfe", "\r\n", "a" * 9000, "-1", "1e9", "../..", "%00", "*/*;q=x", "bytes=9-1", 'W/"', "é"),
)
HEADERS = (
    *("accept", "accept-encoding", "authorization", "content-encoding", "content-type", "cookie", "expect", "host"),
    *("idempotency-key", "if-modified-since", "if-none-match", "if-range", "inference-header-content-length"),
    *("last-event-id", "origin", "range", "transfer-encoding", "x-forwarded-for", "x-request-id", "x-request-timeout"),
)
READ = ("/jobs", "/models", "/models/digits", "/models/digits/content", "/batches", "/datasets", "/datasets/pets")
MORE = ("/", "/metrics", "/openapi.json", "/page/main.js", "/readyz", "/v2", "/networks/resnet18", "/jobs/x/events")
ODD_TAILS = ("", "", "/", "/%00", "/..%2f..%2fx", "/é", "//", "?after=%00")
PARAMETERS = ("limit", "wait", "after", "status", "model")
JSON = {b"content-type": b"application/json"}
ODD_NAMES = ("../x", "/x", "a/" * 40, "x" * 2000, "\u202e", "a\nb", "train/test/val", "CON", ".", "a\\b", "ä")
ODD_TABLES = (
    "filename,label\n0.png,cat\n",
    "sep=;\n\nid;class;split\ncat/0;cat;holdout\n1;dog;\n",
    "image|labels|is_valid\n" + "0.png|a|2\n" * 50,
    "filename,label" + ",x" * 2000 + "\n" + "0.png\n" * 100,
    "0.png,cat\n1.png,dog\n",
    "\n\n\n",
)
KINDS_OF_ARCHIVE = ("application/zip", "application/x-tar", "application/gzip", "application/x-ndjson")


@dataclass(frozen=True)
class Sent:
    method: str
    path: str
    content: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)


def image(chance: Random) -> Sent:
    """Send a corrupt image to one of the places that decode."""
    data = spoilt(chance, chance.choice(_IMAGES))
    encoded = base64.b64encode(data).decode()
    place = chance.randrange(4)
    if place == 0:
        tensor = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [encoded]}
        return Sent("POST", "/v2/models/digits/infer", json.dumps({"inputs": [tensor]}).encode(), JSON)
    if place == 1:
        return Sent("POST", "/predict", json.dumps({"images": [{"b64": encoded}]}).encode(), JSON)
    if place == 2:
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        form = {b"content-type": b"multipart/form-data; boundary=b"}
        return Sent("POST", "/predict", spoilt(chance, head, 0.2) + data + b"\r\n--b--\r\n", form)
    explain = chance.choice(("", "?explain=true", "?preprocess=never", "?top_k=10"))
    return Sent("POST", f"/predict{explain}", data, {b"content-type": b"application/octet-stream"})


def wide_image(chance: Random) -> Sent:
    """Make an image that is costly to decode, damaged half the time."""
    data = spoilt(chance, chance.choice(wide()), 0.5)
    return Sent("POST", "/predict", data, {b"content-type": b"image/png"})


def body(chance: Random) -> Sent:
    """Make a JSON body with an odd value anywhere in it.

    Now and then its text is broken too.
    """
    method, path, right = chance.choice(_BODIES)
    text = json.dumps(with_odd_value(chance, right)).encode()
    return Sent(method, path, spoilt(chance, text, 0.3), JSON)


def archive(chance: Random) -> Sent:
    data, kind = chance.choice(_ARCHIVES)
    if chance.random() < 0.2:
        kind = chance.choice(KINDS_OF_ARCHIVE)
    path = chance.choice(("/batches", "/datasets?name=pets&replace=true"))
    return Sent("POST", path, spoilt(chance, data, 0.9), {b"content-type": kind.encode()})


def inside_an_archive(chance: Random) -> Sent:
    """Make an intact archive of odd things.

    They are headers of a tar with right checksums, names, and what a table says.
    """
    if chance.random() < 0.5:
        odd = b"".join(_tar_header(chance) for _ in range(chance.choice((1, 1, 2, 20))))
        data, kind = gzip.compress(chance.choice((b"", tar(_PETS)[:1024])) + odd + tar(_PETS)), "application/gzip"
    else:
        name = chance.choice(ODD_NAMES) + chance.choice(("", ".png", ".csv", "/x.png"))
        table = spoilt(chance, chance.choice(ODD_TABLES).encode(chance.choice(("utf-8", "utf-16"))), 0.5)
        data, kind = zipped({**_PETS, name: _PETS["cat/0.png"], "labels.csv": table}), "application/zip"
    path = chance.choice(("/batches", "/datasets?name=pets&replace=true", "/datasets?name=pets&replace=true"))
    return Sent("POST", path, data, {b"content-type": kind.encode()})


def _tar_header(chance: Random) -> bytes:
    keyword = chance.choice(("path", "size", "comment", "GNU.sparse.major", "GNU.sparse.map", "hdrcharset", "mtime"))
    value = chance.choice(("1", "-512", "9" * 3000, "a/" * 2000, "x" * 20_000, "1,2,3", "\0", "BINARY"))
    content = chance.choice((pax_record(keyword, value), value.encode(), spoilt(chance, pax_record(keyword, value))))
    size = chance.choice((None, None, None, 0, -1, 2**33))
    return tar_header(chance.choice((b"x", b"g", b"L", b"K", b"S", b"X", b"0", b"5", b"2", b"?")), content, size)


def header(chance: Random) -> Sent:
    """Make any request with odd headers, path or query."""
    path = chance.choice(READ + MORE) + chance.choice(ODD_TAILS)
    if chance.random() < 0.3:
        path += f"{'&' if '?' in path else '?'}{chance.choice(PARAMETERS)}=%ff{'9' * 30}"
    given = {
        chance.choice(HEADERS).encode(): spoilt(chance, chance.choice(ODD_TEXT).encode())
        for _ in range(chance.randint(1, 4))
    }
    return Sent(chance.choice(("GET", "GET", "GET", "HEAD", "DELETE", "PUT", "OPTIONS", "BREW")), path, b"", given)


def nested(chance: Random) -> Sent:
    """Make JSON with too many levels, entries or fields.

    Now and then it comes in gzip.
    """
    method, path, right = chance.choice(_BODIES)
    deep: Any = chance.choice(([], {}, 0, "["))
    for _ in range(chance.choice((7, 8, 9, 70, 500))):
        deep = [deep] if chance.random() < 0.5 else {"images": deep}
    wide: Any = [chance.choice(([], {}, 0, "", deep))] * chance.choice((1, 100, 20_000))
    value = chance.choice((deep, wide, {f"field_{number}": 0 for number in range(3_000)}))
    text = json.dumps(
        right | {chance.choice((*sorted(right), "x")): value} if chance.random() < 0.8 else value
    ).encode()
    if chance.random() < 0.3:
        packed = spoilt(chance, gzip.compress(text, mtime=0), 0.5)
        return Sent(method, path, packed, JSON | {b"content-encoding": b"gzip"})
    return Sent(method, path, spoilt(chance, text, 0.3), JSON)


KINDS = (image, body, archive, header, nested, wide_image, inside_an_archive)
# in their order: an archive starts a process, and takes as long as fifty of the others
ROUND = (image, body, header, nested, wide_image) * 5 + (archive, inside_an_archive)


def spoilt(chance: Random, data: bytes, share: float = 1.0) -> bytes:
    """Corrupt a few bytes, in that share of the cases.

    They are changed, cut out, put in, or made a huge number.
    """
    if chance.random() > share:
        return data
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at, length = chance.randrange(len(changed) + 1), chance.choice((1, 1, 2, 4, 64))
        changed[at : at + chance.choice((0, length))] = chance.choice(
            (chance.randbytes(length), b"", b"\xff" * 4, struct.pack("<I", 2**31 - 1), bytes(changed[: length * 8]))
        )
    return bytes(changed[: chance.randrange(len(changed) + 1)] if chance.random() < 0.15 else changed)


def with_odd_value(chance: Random, value: Any) -> Any:
    """Copy a value with one odd value inside.

    Its place is chosen on the way down.
    """
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(sorted(value))
        new = with_odd_value(chance, value[name])
        return {**value, chance.choice((name, name, name, "x")): new}
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        return [*value[:at], with_odd_value(chance, value[at]), *value[at + 1 :]]
    return chance.choice(ODD_VALUES)


def _drawn() -> list[bytes]:
    """Draw a digit in every image format."""
    found = []
    with Image.open(DIGIT_FILES[7]) as digit:
        for name in FORMATS:
            digit.convert("RGB").save(data := io.BytesIO(), name)
            found.append(data.getvalue())
    return found


_IMAGES = (*_drawn(), photo(1, "GIF", "P"), photo(2, "TIFF", "CMYK"), rotated(), deep())
_ROWS = [[0, 0, 0, 0], [0, 255, 255, 0], [0, 0, 255, 0], [0, 0, 255, 0]]
_RECIPE = {
    "dataset": "digits",
    "network": "resnet18",
    "weights": "random",
    "epochs": 1,
    "learning_rate": 0.1,
    "freeze": "backbone",
    "early_stopping": {"patience": 1},
    "metadata": {"a": "b"},
    "webhook": {"url": "https://example.com/hook", "events": ["done"], "secret": "s" * 16},
}
_TENSOR = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "UINT8", "data": [0] * 784}
_INFER = {"id": "1", "inputs": [_TENSOR], "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]}
_BODIES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/jobs", _RECIPE),
    ("POST", "/predict", {"images": [{"array": _ROWS}, {"b64": "aGk="}, {"url": "http://127.0.0.1/"}]}),
    ("POST", "/v2/models/digits/infer", _INFER),
    ("PUT", "/models/digits/aliases/mine", {"version": 1}),
)
_LINE = json.dumps({"id": 1, "array": _ROWS}).encode() + b"\n"
_PETS = pets("cat", "dog", each=2)
_IDX = {"train-images-idx3-ubyte": idx(np.zeros((4, 5, 5), np.uint8)), "train-labels-idx1-ubyte": idx(np.arange(4) % 2)}
_ARCHIVES = (
    (zipped(_PETS), "application/zip"),
    (zipped({**_IDX, "notes.txt": b"x"}), "application/zip"),
    (zipped({"a.png": photo(3), "labels.csv": b"filename,label\na.png,cat\n"}), "application/zip"),
    (tar_gz(_PETS), "application/gzip"),
    (_LINE * 3, "application/x-ndjson"),
)
