"""The ink of a digit on a picture: the paper, its ruling and its dirt are left behind."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.imaging.digits.background import Mask, Plane, from_edge, measure, median
from core.imaging.digits.connected_components import digit_among
from core.imaging.digits.line_removal import find_ruling

LEAST = 30.0  # grey levels between paper and ink under which there is no digit
GRAINY = 0.05  # share of the sheet that is lighter than its paper if there is noise; half, when it is strong
NOISE = 4.5  # standard deviations of the paper that ink must stand out by
WEAK, STRONG, FULL = (
    0.3,
    0.5,
    0.7,
)  # of the ink's contrast: where it begins, what each stroke has somewhere, where it is full
BLURRED, SLACK = (
    0.5,
    0.1,
)  # share of a stroke that is full ink, at least; a blurred digit's may miss a spot's by so much
TELLING = 40  # pixels: from that size on it can be told light from ink
BINS = 64


@dataclass(frozen=True)
class Ink:
    values: Plane | None  # 0..1, of the crop; None: there is none to read
    found: dict[str, Any]  # what was seen and done, for people; ``cropped`` is left, top, right and bottom


def find_ink(picture: npt.NDArray[np.uint8]) -> Ink:
    """Of a picture h x w or h x w x 3, of a few hundred pixels a side."""
    contrast = measure(_planes(picture))
    found: dict[str, Any] = {"inverted": contrast.inverted}
    if contrast.flattened:
        found["background_flattened"] = True
    values, floor = contrast.values, _floor(contrast.values)
    if (level := _level(values[values > floor])) < max(LEAST, 1.5 * floor):
        return Ink(None, found)
    mask = values > max(floor, WEAK * level)
    lines, ruled, ruling = find_ruling(mask, values)
    if lines:
        found["grid_removed"] = lines
        mask &= ~ruled
        if (level := _level(values[mask])) < LEAST:
            return Ink(None, found)
    digit = digit_among(mask, values, max(floor, STRONG * level), ruling)
    if digit is None:
        return Ink(None, found)
    if digit[1]:
        found["marks_removed"] = digit[1]
    rows, columns = _box(digit[0])
    start, here = max(floor, WEAK * level), values[rows, columns] * digit[0][rows, columns]
    ink = _cropped(((here - start) / max(FULL * level - start, 1)).clip(0, 1), found, columns.start, rows.start)
    return Ink(None, found) if ink.values is None or _fades(here) else ink


def find_plain_ink(picture: npt.NDArray[np.uint8]) -> Ink:
    """All that differs from the edge of the picture, however faint its strokes."""
    contrast = from_edge(_planes(picture))
    values, found = contrast.values, {"inverted": contrast.inverted}
    if values.max() < LEAST:
        return Ink(None, found)
    ink = values / values.max()
    return _cropped(ink * (ink > WEAK / 2), found)


def _planes(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """One plane where there is no colour."""
    if picture.ndim == 2:
        return picture[None].astype(np.float32)
    planes = np.stack([picture[..., channel] for channel in range(3)])
    return (planes[:1] if (planes[1:] == planes[:1]).all() else planes).astype(np.float32)


def _floor(values: Plane) -> float:
    """Contrast under which nothing is ink. Only noise is lighter than paper, so its lower side tells its spread."""
    some = values[::2, ::2]
    lighter = -some[some < 0]
    noise = 1.48 * float(median(lighter)) if len(lighter) > max(50, GRAINY * some.size) else 0.0
    return max(NOISE * noise, LEAST / 2)


def _level(values: npt.NDArray[np.float32]) -> float:
    """The contrast of ink among what may be ink: the mean of the darker class that Otsu's threshold makes."""
    if len(values) < 4:
        return 0.0
    low, high = float(values.min()), float(values.max())
    if high - low < 1:
        return high
    bins = ((values - low) * ((BINS - 1) / (high - low))).astype(np.intp)
    count, total = np.bincount(bins, minlength=BINS), np.bincount(bins, values, minlength=BINS)
    below, sum_below = count.cumsum()[:-1], total.cumsum()[:-1]
    above, sum_above = len(values) - below, total.sum() - sum_below
    split = np.argmax(below * above * (sum_below / below.clip(1) - sum_above / above.clip(1)) ** 2)
    return float(sum_above[split] / above[split])


def _fades(ink: Plane) -> bool:
    """Like light and shade: of a stroke, however blurred, most is full ink; of a spot, less than it covers of its box.

    Strokes of a pixel or two cannot be told by it.
    """
    level, long = _level(ink[ink > 0]), max(ink.shape)
    inked, full = np.count_nonzero(ink > WEAK * level), np.count_nonzero(ink >= FULL * level)
    solid = inked / ink.size if min(ink.shape) > long / 2 else 0.0
    return long >= TELLING and bool(full / inked < max(BLURRED, solid - SLACK))


def _cropped(ink: Plane, found: dict[str, Any], left: int = 0, top: int = 0) -> Ink:
    """``left`` and ``top``: where it lies in the picture."""
    if not ink.any():
        return Ink(None, found)
    rows, columns = _box(ink)
    cropped = [left + columns.start, top + rows.start, left + columns.stop, top + rows.stop]
    return Ink(ink[rows, columns], found | {"cropped": cropped})


def _box(ink: Plane | Mask) -> tuple[slice, slice]:
    """Rows and columns of what is set."""
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
