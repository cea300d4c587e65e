"""Separate a digit's ink from paper, ruling and dirt."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from core.imaging.digits.background import WHITE, Contrast, Picture, Plane, subtract_background, subtract_edge_colour
from core.imaging.digits.connected_components import Mask, bounding_box, find_digit
from core.imaging.digits.line_removal import find_lines

MIN_CONTRAST = 10.0  # grey levels: the texture of paper and the blocks of a poor JPEG reach it
NOISE = 5.5  # standard deviations of the noise: none of 65,000 pixels of plain paper exceeds it
WEAK, FULL = 0.3, 0.7  # of the ink's contrast: where a stroke begins, and where it is opaque
CLOSE_BY = 0.15  # of the digit's size, to each side of a pixel
BINS = 64  # of a histogram of contrasts
SHARP = 0.1  # of the ink's contrast: it exceeds what is close by at least so far; light and shade reach half of it


@dataclass(frozen=True)
class Ink:
    values: Plane | None  # 0..1, cropped to the digit; None: nothing stands out from the noise
    found: dict[str, Any]  # what was seen and done, for people; ``cropped`` is left, top, right and bottom


def find_ink(picture: Picture) -> Ink:
    """Find a digit's ink in a picture.

    The picture has a few hundred pixels a side.
    """
    contrast = subtract_background(picture)
    values, found = contrast.values, _seen(contrast)
    floor = max(NOISE * contrast.noise, MIN_CONTRAST / 2)
    mask = values > max(floor, WEAK * _ink_level(values[values > floor]))
    count, lines = find_lines(mask)
    digit, others = find_digit(mask & ~lines, values)
    found |= {what: number for what, number in (("grid_removed", count), ("marks_removed", others)) if number}
    if (level := _ink_level(values[digit])) < MIN_CONTRAST or not _is_sharp(values, digit):
        return Ink(None, found)
    start = max(floor, WEAK * level)
    return _cropped(((values - start) / max(FULL * level - start, 1)).clip(0, 1) * digit, found)


def find_plain_ink(picture: Picture) -> Ink:
    """Find everything that differs from the colour of the picture's edge.

    However faint its strokes are.
    """
    contrast = subtract_edge_colour(picture)
    ink = contrast.values / max(float(contrast.values.max()), MIN_CONTRAST)
    return _cropped(ink * (ink > WEAK / 2), _seen(contrast)) if ink.max() >= 1 else Ink(None, _seen(contrast))


def _seen(contrast: Contrast) -> dict[str, Any]:
    return {"inverted": contrast.inverted} | ({"background_flattened": True} if contrast.flattened else {})


def _cropped(ink: Plane, found: dict[str, Any]) -> Ink:
    rows, columns = box = bounding_box(ink)
    return Ink(ink[box], found | {"cropped": [columns.start, rows.start, columns.stop, rows.stop]})


def _ink_level(values: Plane) -> float:
    """Return the mean contrast of ink, by Otsu's threshold.

    Otsu's method splits the contrasts into two classes; the mean is that of the darker one. 0 if there are none.
    """
    if not values.size:
        return 0.0
    edges = np.linspace(0, float(values.max()), BINS + 1)
    bins = (values * (BINS / edges[-1])).astype(np.intp).clip(0, BINS - 1)  # np.histogram takes three times as long
    count = np.bincount(bins, minlength=BINS)
    total = count * (edges[:-1] + edges[1:]) / 2
    below, sum_below = count.cumsum(), total.cumsum()
    above, sum_above = values.size - below, total.sum() - sum_below
    between = below * above * (sum_below / below.clip(1) - sum_above / above.clip(1)) ** 2
    return float(values[values >= edges[between.argmax() + 1]].mean())


def _is_sharp(values: Plane, digit: Mask) -> bool:
    """Check whether the digit stands out from what is close by."""
    rows, columns = bounding_box(digit)
    reach = max(1, round(CLOSE_BY * max(rows.stop - rows.start, columns.stop - columns.start)))
    # a box with its surroundings: a straight stroke fills its own box
    around = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in (rows, columns))
    image = Image.fromarray(values[around].clip(0, WHITE).astype(np.uint8))
    blurred = image.filter(ImageFilter.BoxBlur(reach))
    here, there = (float(np.asarray(plane)[digit[around]].mean()) for plane in (image, blurred))
    return there <= (1 - SHARP) * here
