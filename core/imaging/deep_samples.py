"""Bring samples of more than 8 bits to 8."""

import io
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin

from core.imaging import file_formats
from core.imaging.strips import strips

WHITES = (255, 1023, 4095, 65535)  # in 8, 10, 12 and 16 bits
MAX_SAMPLE_VALUE, BITS_PER_SAMPLE = 281, 258  # TIFF's tags
DEEP_COLOURS, SWAPPED = "RGB;16B", "RGB;16L"  # Pillow's names of the order of bytes in a sample
TINY_SPAN = 1e-6


class Levels(NamedTuple):
    """The values shown as black and as white."""

    black: float
    white: float


def choose_levels(image: ImageFile.ImageFile, data: bytes) -> Levels:
    """Choose the values that become black and white.

    White is that of the file's tag, else the range that its values fit, so that a nearly blank sheet stays blank. The
    ranges are those of 8, 10, 12 and 16 bits; of fractions, 0..1 before them. Values outside all of them are scaled by
    their own minimum and maximum.
    """
    extremes = [(float(values.min()), float(values.max())) for values in map(samples_of, strips(image))]
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    if low < 0:
        return Levels(low, high)
    whites = (_tagged_white(image, data), *((1,) if image.mode == "F" else ()), *WHITES)
    return next((Levels(0, white) for white in whites if white and high <= white), Levels(low, high))


def has_16_bit_colours(image: ImageFile.ImageFile) -> bool:
    """Check for a PNG with 16 bits in each colour.

    Pillow decodes only the upper byte of each sample.
    """
    return image.format == "PNG" and any(tile.args == DEEP_COLOURS for tile in image.tile)


def spread_narrow_colours(image: ImageFile.ImageFile, data: bytes) -> None:
    """Scale colours with few bits in 16-bit samples to 8 bits.

    Those have at most 12 bits; their lower bytes are decoded too.
    """
    upper = int(np.max(image.getextrema()))
    if upper > WHITES[-2] >> 8:
        return
    low = Image.open(io.BytesIO(data), formats=("PNG",))
    assert isinstance(low, ImageFile.ImageFile)
    low.tile = [tile._replace(args=SWAPPED) for tile in low.tile]
    low.load()
    high = max(int((_wide(*pair)).max()) for pair in zip(strips(image), strips(low), strict=True))
    whites = (_tagged_white(image, data), *WHITES)
    levels = next(Levels(0, white) for white in whites if white and high <= white)
    top = 0
    for pair in zip(strips(image), strips(low), strict=True):
        image.paste(Image.fromarray(to_8_bits(_wide(*pair), levels)), (0, top))
        top += pair[0].height


def _wide(upper: Image.Image, lower: Image.Image) -> npt.NDArray[np.uint16]:
    return np.asarray(upper, np.uint16) * np.uint16(256) + np.asarray(lower, np.uint16)


def _tagged_white(image: ImageFile.ImageFile, data: bytes) -> float | None:
    if image.format == "PNG":
        bits = file_formats.significant_bits(data)
        return 2**bits - 1 if bits else None
    if image.format != "TIFF" or image.mode == "F":
        return None
    bits = _tag(image, BITS_PER_SAMPLE)
    return _tag(image, MAX_SAMPLE_VALUE) or (2**bits - 1 if bits and bits < 16 else None)


def _tag(image: ImageFile.ImageFile, number: int) -> int | None:
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    value = image.tag_v2.get(number)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else None


def samples_of(image: Image.Image) -> npt.NDArray[Any]:
    values = np.asarray(image)
    return np.where(np.isfinite(values), values, 0) if values.dtype.kind == "f" else values


def to_8_bits(values: npt.NDArray[Any], levels: Levels) -> npt.NDArray[np.uint8]:
    scale = 255 / max(levels.white - levels.black, TINY_SPAN)
    return np.asarray(((values - levels.black) * scale).round(), np.uint8)
