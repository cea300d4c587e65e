"""Read a batch's images lazily, from zips, files and JSON lines.

At most ``max_body_bytes`` of one image are read: sizes declared in a zip are not trusted.
"""

import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from core import base64_text
from core.artifacts.batch_files import Line, may_be_an_image, parse_line, read_lines, read_parts
from core.artifacts.store import ArtifactStore
from core.artifacts.zip_directory import GARBLED, name_of
from core.errors import InvalidInput, NotAnImage, TooLarge
from core.imaging import preparation
from core.imaging.decoding import decode
from core.settings import Settings

# errors of the libraries for damaged archives; RuntimeError: an unknown compression
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)
ENCRYPTED = 1  # a zip entry's flag
NAME_ENCODING = {"code": "name_encoding", "detail": GARBLED}  # as in the report of a data set


@dataclass(frozen=True)
class Sent:
    """An uploaded image and its label in the results.

    ``read`` raises InvalidInput only.
    """

    label: dict[str, Any]  # name, with a warning where it may be garbled; id; or nothing
    read: Callable[[], Image.Image]


def sent_images(store: ArtifactStore, key: str, settings: Settings, behind: int) -> Iterator[Sent]:
    """Yield a batch's images from the index ``behind`` on.

    Each must be read before the next is requested.
    """
    for make in islice(_all(store, key, settings), behind, None):
        yield make()


def _all(store: ArtifactStore, key: str, settings: Settings) -> Iterator[Callable[[], Sent]]:
    """Yield functions that parse one image each.

    So images with stored results are skipped without parsing.
    """
    readers = {"zip": _in_zip, "image": _in_file, "manifest": _in_manifest}
    for part in read_parts(store, key):
        yield from readers[part.kind](store.fetch(f"{key}/{part.file}"), part.name, settings)


def _in_zip(path: Path, _name: str, settings: Settings) -> Iterator[Callable[[], Sent]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name, is_known = name_of(entry)
            if may_be_an_image(name):
                label = {"name": name} | ({} if is_known else {"warning": NAME_ENCODING})
                yield partial(Sent, label, partial(_read_entry, archive, entry, settings))


def _in_file(path: Path, name: str, settings: Settings) -> Iterator[Callable[[], Sent]]:
    def read() -> Image.Image:
        with path.open("rb") as file:
            return _decode(file.read(settings.max_body_bytes + 1), settings)

    yield partial(Sent, {"name": name}, read)


def _in_manifest(path: Path, _name: str, settings: Settings) -> Iterator[Callable[[], Sent]]:
    for line in read_lines(path, settings.max_body_bytes):
        yield partial(_from_line, line, settings)


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, settings: Settings) -> Image.Image:
    if entry.flag_bits & ENCRYPTED:
        raise NotAnImage("It is encrypted: send the zip without a password.")
    try:
        with archive.open(entry) as file:
            data = file.read(settings.max_body_bytes + 1)
    except DAMAGE as error:
        raise NotAnImage(f"It cannot be unpacked: {error}.") from error
    return _decode(data, settings)


def _from_line(text: bytes, settings: Settings) -> Sent:
    try:
        if len(text) > settings.max_body_bytes:
            raise _too_large(settings)
        line = parse_line(text)
    except InvalidInput as error:
        return refused({}, error)
    return Sent({} if line.id is None else {"id": line.id}, partial(_from_values, line, settings))


def refused(label: dict[str, Any], error: InvalidInput) -> Sent:
    """Make an image that cannot be read, for that reason."""

    def read() -> Image.Image:
        raise error

    return Sent(label, read)


def _from_values(line: Line, settings: Settings) -> Image.Image:
    if line.array is not None:
        return preparation.from_array(line.array)
    return _decode(base64_text.decode(line.b64 or ""), settings)


def _decode(data: bytes, settings: Settings) -> Image.Image:
    if len(data) > settings.max_body_bytes:
        raise _too_large(settings)
    return decode(data, settings.max_image_pixels)


def _too_large(settings: Settings) -> TooLarge:
    return TooLarge(f"The image is larger than {settings.max_body_bytes} bytes.")
