"""Build data sets as people upload them.

Their small photos come in every form that a file of an image may have.
"""

import io
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from core.imaging.idx_format import FILES
from tests.support.datafiles import idx

ORIENTATION = 0x0112  # Exif's tag


def photo(seed: int, file_format: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    """Make a photo of noise in coarse blocks, by a seed."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(blocks).resize((32, 24), Image.Resampling.NEAREST).convert(mode).save(data, file_format, **options)
    return data.getvalue()


def rotated() -> bytes:
    """Make a JPEG as written by a camera held upright."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return photo(1, "JPEG", exif=exif)


def deep() -> bytes:
    """Make a PNG with 16 bits a pixel."""
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(2).integers(0, 2**16, (24, 32)).astype(np.uint16)).save(data, "PNG")
    return data.getvalue()


def pets(*classes: str, each: int = 3, above: str = "") -> dict[str, bytes]:
    """Make ``each`` photos in a folder of every class.

    The folders lie below the folder ``above``; no two photos are the same.
    """
    first = zlib.crc32(above.encode())
    return {
        f"{above}{label}/{number}.png": photo(first + 100 * place + number)
        for place, label in enumerate(classes)
        for number in range(each)
    }


def idx_files(names: tuple[str, ...] = FILES, classes: int = 3, each: int = 4) -> Mapping[str, bytes]:
    """Make MNIST's four files under these names.

    They hold 10x10 images, no two of them the same.
    """
    count = classes * each
    train, test = np.random.default_rng(0).integers(0, 256, (2, count, 10, 10), np.uint8)
    labels = np.arange(count, dtype=np.uint8) % classes
    return dict(zip(names, (idx(train), idx(labels), idx(test), idx(labels)), strict=True))
