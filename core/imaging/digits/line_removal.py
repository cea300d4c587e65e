"""Straight thin lines across the whole sheet: squared and ruled paper, margins, a frame, the edge of a shadow."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.imaging.digits.background import Mask, Plane
from core.imaging.digits.sliding_window import slide

SLOPE = 0.24  # of a line, at most
COVERED = 0.5  # of a line that must be there: it may be faint or dashed
VISIBLE = 0.12  # of the width over which a line must run before it leaves the sheet
THICK = 0.03  # of the height: no line is thicker
END = 0.06  # of the width that may be missing at either end of a line
FAINT = 0.65  # of the ink's contrast: under it a line is not of ink
NEAR = 2.5  # pixels that a line may stray, for lenses and curled paper
MANY = 4  # lines that run the same way: they need not reach the edge


@dataclass(frozen=True)
class Line:
    pixels: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]  # that are of the line alone
    band: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]  # thin ones beside them, which may be the line's rest
    whole: bool  # from edge to edge


def find_ruling(mask: Mask, values: Plane) -> tuple[int, Mask, Mask]:
    """The number of lines, their pixels, and pixels that may still belong to them. A stroke that crosses stays.

    One line of the ink's own strength may be the bar of a digit that fills the picture, and is left alone unless
    what remains keeps clear of both edges beside it.
    """
    across, down = lines_across(mask), [_turned(line) for line in lines_across(np.ascontiguousarray(mask.T))]
    rest = mask & ~_drawn([line.pixels for line in across + down], mask)
    strength = _strength(values[rest])
    found = []
    for lines, edges in ((across, rest[[0, -1]]), (down, rest[:, [0, -1]])):
        several = len(lines) > 1 or len(across) + len(down) > 2
        alone = rest.sum() > 0.1 * mask.sum() and not edges.any()
        found += [line for line in lines if several or alone or values[line.pixels].mean() < FAINT * strength]
    return len(found), _drawn([line.pixels for line in found], mask), _drawn([line.band for line in found], mask)


def lines_across(mask: Mask) -> list[Line]:
    """From the left edge to the right, or out at the top or the bottom. Found by a Hough transform of thin places."""
    height, width = mask.shape
    if np.count_nonzero(mask.any(0)) < COVERED * width:  # as of most drawings: soon told
        return []
    thickness = max(3, round(THICK * height))
    thin = mask & ~_thick(mask, thickness + 1)
    if np.count_nonzero(thin.any(0)) < COVERED * width:
        return []
    lines, left = [], thin.copy()
    for slope, start in _candidates(thin):
        if line := _line(left, slope, start, thickness):
            lines.append(line)
            left[line.pixels] = False  # a pixel is of one line only
    return lines if len(lines) >= MANY else [line for line in lines if line.whole]


def _thick(mask: Mask, height: int) -> Mask:
    """Morphological opening: what is at least so high."""
    eroded = slide(mask, height, np.minimum, 0)
    return slide(eroded[::-1], height, np.maximum, 0)[::-1]  # turned, since an even window is not centred


def _candidates(thin: Mask) -> Iterator[tuple[float, int]]:
    """Slope, and row in the middle column, of each line that is covered well enough; the best first."""
    height, width = thin.shape
    tops = thin.copy()
    tops[1:] &= ~thin[:-1]
    y, x = np.nonzero(tops[:, ::2])  # every second column is enough
    slopes = np.arange(-SLOPE, SLOPE, max(2 / width, 0.01))
    beyond = int(SLOPE * width / 2) + 3  # rows above the sheet where a line's middle may be
    rows = height + 2 * beyond
    at = np.rint(y - slopes[:, None] * (2 * x - width / 2)).astype(np.intp) + beyond
    at += np.arange(len(slopes))[:, None] * rows
    votes = np.bincount(at.ravel(), minlength=len(slopes) * rows).reshape(len(slopes), rows)
    votes = votes + np.roll(votes, 1, 1) + np.roll(votes, -1, 1)
    visible = _visible(slopes[:, None], np.arange(rows) - beyond, height, width)
    covered = np.where(visible >= VISIBLE * width, 2 * votes / visible.clip(1, None), 0)
    while covered.max() >= COVERED:
        slope, row = np.unravel_index(covered.argmax(), covered.shape)
        covered[:, max(0, row - 3) : row + 4] = 0
        yield float(slopes[slope]), int(row) - beyond


def _visible(
    slope: npt.NDArray[np.float64], middle: npt.NDArray[np.intp], height: int, width: int
) -> npt.NDArray[np.float64]:
    """Columns in which a line is inside the picture."""
    steep = np.abs(slope).clip(1e-6, None)
    left = np.clip(-middle / steep, -width / 2, width / 2)
    right = np.clip((height - middle) / steep, -width / 2, width / 2)
    return np.asarray(right - left)


def _line(thin: Mask, slope: float, middle: int, thickness: int) -> Line | None:
    height, width = thin.shape
    centre = np.rint(middle + slope * (np.arange(width) - width / 2)).astype(np.intp)
    inside = np.flatnonzero((centre >= 0) & (centre < height))
    reach = np.arange(-int(NEAR), thickness + 1)[:, None]
    rows = (centre + reach).clip(0, height - 1)
    here = thin[rows, np.arange(width)] & (rows == centre + reach)
    deep = here.sum(0)
    usual = np.median(deep[deep > 0]) if deep.any() else 0
    alone = here & (deep <= usual + 2) & (reach <= usual + 1)
    columns = np.flatnonzero(alone.any(0))
    if not len(inside) or len(columns) < max(1, (COVERED - 0.05) * len(inside)):
        return None
    whole = columns[0] <= inside[0] + END * width and columns[-1] >= inside[-1] - END * width
    return Line(_places(alone, rows), _places(here & (reach <= usual + 2), rows), bool(whole))


def _places(chosen: Mask, rows: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    number, columns = np.nonzero(chosen)
    return rows[number, columns], columns


def _turned(line: Line) -> Line:
    return Line(line.pixels[::-1], line.band[::-1], line.whole)


def _drawn(places: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]], like: Mask) -> Mask:
    drawn = np.zeros_like(like)
    for place in places:
        drawn[place] = True
    return drawn


def _strength(values: npt.NDArray[np.float32]) -> float:
    """Contrast of the strongest quarter."""
    return float(np.sort(values)[-max(1, len(values) // 4) :].mean()) if len(values) else 0.0
