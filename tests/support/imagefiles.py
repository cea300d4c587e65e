"""Image files of every kind that costs a decoder much."""

import io
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
