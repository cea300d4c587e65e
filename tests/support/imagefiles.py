"""Image files of every kind that costs a decoder much."""

import io
import struct
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from core.imaging import file_formats
from tests import ROOT
from tests.conftest import DIGIT_FILES


def file_of(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, file_format, **options)
    return data.getvalue()


def seven() -> Image.Image:
    with Image.open(DIGIT_FILES[7]) as image:
        return image.convert("L")


def photo(width: int = 401, height: int = 301) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    return Image.fromarray(values).resize((width, height))


def in_many_scans(count: int) -> bytes:
    """Make a JPEG whose last scan is repeated ``count`` times."""
    data = file_of(seven(), "JPEG", progressive=True)
    scan = data[data.rindex(file_formats.START_OF_SCAN) : -2]
    return data[:-2] + scan * count + file_formats.END_OF_IMAGE


@cache
def wide() -> tuple[bytes, ...]:
    """Make valid files of few bytes that are costly to decode.

    They have many pixels, wide samples, many scans or long metadata.
    """
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "ab" * 2**20, zip=True)
    return (
        file_of(Image.fromarray(np.full((2000, 3000), 3_000, np.uint16))),
        file_of(Image.fromarray(np.full((1500, 2000), 0.5, np.float32)), "TIFF", compression="tiff_lzw"),
        file_of(Image.fromarray(np.full((1500, 2000), 70_000, np.int32)), "TIFF", compression="tiff_lzw"),
        file_of(Image.new("RGB", (6000, 6000)), "WEBP", lossless=True, method=0),
        file_of(Image.new("P", (4000, 3000)), transparency=0),
        file_of(Image.new("1", (10_000, 5_000))),
        file_of(Image.new("L", (1, 60_000), 255)),
        file_of(Image.new("RGB", (1500, 1500)), "AVIF", speed=10),
        file_of(photo(1600, 1200).convert("CMYK"), "JPEG", progressive=True),
        file_of(photo(), pnginfo=text),
        (ROOT / "tests/support/seven.heic").read_bytes(),
        in_many_scans(60),
        in_many_scans(1_500),
        photo_without_end(),
    )


def photo_without_end() -> bytes:
    """Make a JPEG that lacks its end marker."""
    return file_of(photo(), "JPEG")[:-2]


def swapped_profile() -> bytes:
    """An ICC profile of a screen that shows green where another shows red, and red for green."""
    red, green, blue = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7142)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    colours = {b"rXYZ": green, b"gXYZ": red, b"bXYZ": blue, b"wtpt": (0.9642, 1, 0.8249)}
    tags = {name: b"XYZ \0\0\0\0" + _fixed(*values) for name, values in colours.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    listed, content, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        listed += name + struct.pack(">II", start + len(content), len(value))
        content += value
    kind = struct.pack(">4xI4s4s4s12x4s28x", 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    header = struct.pack(">I", start + len(content)) + kind + _fixed(0.9642, 1, 0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + listed + content


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 2**16) for value in values))
