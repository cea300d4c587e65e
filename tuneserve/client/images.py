"""What can be classified: files, folders, patterns, bytes, arrays, pictures and URLs."""

import glob
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneserve.folder_zip import sendable_name

# of the files that are taken out of a folder
PHOTOS = ".avif .bmp .gif .heic .heif .jfif .jpeg .jpg .pgm .png .pnm .ppm .tif .tiff .webp"
SUFFIXES = frozenset(PHOTOS.split())
MAX_IMAGES, MAX_IMAGES_BYTES = 100, 16 * 2**20  # in a request; the service takes 256, and 32 MiB
MAX_URLS = 8  # in a request
GLOB = frozenset("*?[")

Image = Any  # a path or a pattern, a URL, bytes, an array, a PIL image, or several of them


@dataclass(frozen=True)
class Input:
    """One image to send; its bytes are read when its request is sent."""

    name: str
    size: int
    read: Callable[[], bytes]
    url: str | None = None

    def part(self) -> tuple[str, bytes]:
        """Return the file's name and content for a form."""
        return sendable_name(Path(self.name).name) or "image", self.read()


def inputs(images: Iterable[Image]) -> Iterator[Input]:
    """Yield the single images that the given things mean, in their order."""
    for number, image in enumerate(images):
        yield from _inputs(image, f"image {number}")


def parted(given: Iterable[Input]) -> Iterator[list[Input]]:
    """Yield as many at a time as a request takes; URLs go apart from files."""
    part: list[Input] = []
    size = 0
    for one in given:
        full = len(part) == (MAX_URLS if one.url else MAX_IMAGES) or size + one.size > MAX_IMAGES_BYTES
        if part and (full or (one.url is None) != (part[0].url is None)):
            yield part
            part, size = [], 0
        part.append(one)
        size += one.size
    if part:
        yield part


def _inputs(image: Image, name: str) -> Iterator[Input]:
    if isinstance(image, Input):
        yield image
    elif isinstance(image, bytes | bytearray | memoryview):
        yield _of_bytes(name, bytes(image))
    elif isinstance(image, str) and image.startswith(("http://", "https://")):
        yield Input(image, 0, bytes, url=image)
    elif isinstance(image, str | os.PathLike):
        yield from _of_path(Path(image))
    elif hasattr(image, "tobitmap"):  # a PIL image
        yield _of_bytes(getattr(image, "filename", "") or name, _of_picture(image))
    elif hasattr(image, "__array__") and getattr(image, "ndim", 4) < 4:
        yield _of_bytes(name, _png(image))
    elif isinstance(image, Iterable):
        for number, one in enumerate(image):
            yield from _inputs(one, f"{name}.{number}")
    else:
        raise TypeError(f"{name} is of {type(image).__name__}: give a path, a URL, bytes, an array or a PIL image")


def _of_bytes(name: str, data: bytes) -> Input:
    return Input(name, len(data), lambda: data)


def _of_path(path: Path) -> Iterator[Input]:
    if path.is_dir():
        found = _in_folder(path)
    elif GLOB & set(str(path)) and not path.exists():
        found = _matching(path)
    else:
        found = [path]
    yield from (Input(str(file), file.stat().st_size, file.read_bytes) for file in found)


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.rglob("*") if _is_image(file.relative_to(folder)) and file.is_file())
    if not found:
        raise FileNotFoundError(f"{folder} holds no image")
    return found


def _matching(pattern: Path) -> list[Path]:
    found = sorted(Path(name) for name in glob.glob(str(pattern), recursive=True))  # noqa: PTH207 its root is in it
    if not found:
        raise FileNotFoundError(f"{pattern} matches no file")
    return [file for file in found if not file.is_dir()]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _of_picture(picture: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def _png(array: Any) -> bytes:
    """Write an array of [h][w] or [h][w][3] as a PNG: integers 0..255 or fractions 0..1."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not array.size or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"an array must have the shape [h][w] or [h][w][3], not {list(array.shape)}")
    if not (array.min() >= 0 and array.max() <= 255):
        raise ValueError("an array must hold numbers 0..255, or fractions 0..1")
    if array.dtype.kind not in "u" or array.max() <= 1:
        array = (array * (255.0 if array.max() <= 1 else 1.0)).round()
    rows = array.astype("uint8")
    height, width = rows.shape[:2]
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if rows.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
