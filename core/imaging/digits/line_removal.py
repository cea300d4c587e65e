"""Find straight thin lines across the whole picture, to remove them.

Such are squared and ruled paper, a margin, a frame, the edge of a shadow.
"""

from collections.abc import Iterator

import numpy as np

from core.imaging.digits.connected_components import Mask
from core.imaging.digits.sliding_window import opening

MAX_SLOPE = 0.24  # of a line against the picture's side: how far people tilt a camera
COVERED = 0.5  # of a line's length that is in the mask: printed lines are faint or dashed
THICK = 0.03  # of the picture's height: no line is thicker
STRAY = 2  # pixels that a line leaves its straight course, on curled paper
SPAN = 0.88  # of the picture's width, from one end of a line to the other, at least


def find_lines(mask: Mask) -> tuple[int, Mask]:
    """Return the number of lines and a mask of their pixels.

    Strokes that cross a line are left.

    Up to two lines may be strokes of a digit that fills the picture, such as the bar of a 7. They are lines only where
    what remains keeps clear of the picture's edges.
    """
    lines = lines_across(mask) + [line.T for line in lines_across(np.ascontiguousarray(mask.T))]
    pixels = np.any(lines, axis=0) if lines else np.zeros_like(mask)
    rest = mask & ~pixels
    on_edge = rest[[0, -1]].any() or rest[:, [0, -1]].any()
    if len(lines) <= 2 and (on_edge or rest.sum() <= 0.1 * mask.sum()):
        return 0, np.zeros_like(mask)
    return len(lines), pixels


def lines_across(mask: Mask) -> list[Mask]:
    """Find lines from left to right edge by a Hough transform.

    Only pixels of thin structures vote.
    """
    height, width = mask.shape
    if np.count_nonzero(mask.any(0)) < COVERED * width:  # so are most drawings
        return []
    thickness = max(3, round(THICK * height))
    thin = mask & ~opening(mask, thickness + 1, axes=[0])
    lines = []
    y, x = np.arange(height)[:, None], np.arange(width) - width / 2
    for slope, middle in _candidates(thin):
        top = middle + slope * x
        line = thin & (y >= top - STRAY) & (y <= top + thickness)
        columns, inside = np.flatnonzero(line.any(0)), np.flatnonzero((top >= 0) & (top < height))
        if len(columns) >= COVERED * len(inside) and np.ptp(columns) >= SPAN * len(inside):
            thin &= ~line
            lines.append(line)
    return lines


def _candidates(thin: Mask) -> Iterator[tuple[float, int]]:
    """Yield slope and middle row of well-covered lines, best first.

    The row is where the line crosses the middle column.
    """
    height, width = thin.shape
    tops = thin.copy()
    tops[1:] &= ~thin[:-1]
    y, x = np.nonzero(tops)
    slopes = np.arange(-MAX_SLOPE, MAX_SLOPE, max(2 / width, 0.01))[:, None]
    middles = np.rint(y - slopes * (x - width / 2)).astype(np.intp).clip(-1, height) + 1  # the margins: all outside
    at = middles + np.arange(len(slopes))[:, None] * (height + 2)
    votes = np.bincount(at.ravel(), minlength=len(slopes) * (height + 2)).reshape(len(slopes), -1)
    votes[:, [0, -1]] = 0
    rows, steep = np.arange(height), np.abs(slopes).clip(1e-6, None)
    visible = (rows / steep).clip(None, width / 2) + ((height - rows) / steep).clip(None, width / 2)
    covered = (votes[:, 1:-1] + votes[:, :-2] + votes[:, 2:]) / visible
    while covered.max() >= COVERED:
        number, middle = np.unravel_index(covered.argmax(), covered.shape)
        covered[:, max(0, middle - STRAY - 1) : middle + STRAY + 2] = 0
        yield float(slopes[number, 0]), int(middle)
