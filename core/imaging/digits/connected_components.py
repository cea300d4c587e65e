"""Connected components of a mask, and which of them are the digit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]  # h x w, or one entry per component
Integers = npt.NDArray[np.intp]

GRAIN = 4  # pixels: a smaller component is noise
SMALLEST = 0.03  # of the picture's longer side: a shorter component is dirt
PART = 0.18  # of the main component's size: a shorter one is dirt
NEAR = 0.25  # of the main component's size: a component farther away is no part of the digit
PALE = 0.5  # of the main component's contrast: a paler one is no part of the digit
FOREIGN = 0.1  # weight of a component that comes in from outside the picture, such as a shadow or the table


@dataclass(frozen=True)
class Components:
    """Arrays with one entry per component, but for ``number``."""

    number: Integers  # of each pixel of the mask, row by row: its component
    area: Integers  # pixels
    top: Integers
    left: Integers
    bottom: Integers  # last row
    right: Integers  # last column
    size: Integers  # pixels of the longer side


def find_digit(mask: Mask, values: npt.NDArray[np.float32]) -> tuple[Mask, int]:
    """Return the digit's pixels and the number of other components.

    The mask is empty if no component is large enough to be a digit.
    """
    digit = np.zeros_like(mask)
    if not mask.any():
        return digit, 0
    found, ink = find_components(mask), values[mask]
    contrast = np.bincount(found.number, ink) / found.area
    energy = np.bincount(found.number, ink * ink)
    likely = (found.area >= GRAIN) & (found.size >= SMALLEST * max(mask.shape))
    edges = found.top == 0, found.left == 0, found.bottom == mask.shape[0] - 1, found.right == mask.shape[1] - 1
    foreign = np.sum(edges, axis=0) > 1
    score = energy * likely * np.where(foreign, FOREIGN, 1)
    main = int(score.argmax())
    above, below = found.top - found.bottom[main], found.top[main] - found.bottom
    right, left = found.left - found.right[main], found.left[main] - found.right
    near = np.maximum.reduce([above, below, left, right]) <= NEAR * found.size[main]
    kept = likely & near & (found.size >= PART * found.size[main]) & (contrast >= PALE * contrast[main])
    kept &= ~foreign | foreign[main]
    digit[mask] = kept[found.number]
    return digit, int(((found.area >= GRAIN) & ~kept).sum())


def find_components(mask: Mask) -> Components:
    """Label and measure connected components by their runs.

    A run is a row's pixels beside each other; there are far fewer runs than pixels.
    """
    padded = np.pad(mask, 1)  # so that no run goes on in the next row
    width = padded.shape[1]
    ends = np.flatnonzero(np.diff(padded.ravel())) + 1
    start, stop = ends[::2], ends[1::2]
    number = _connected(start, stop, width)
    order = np.argsort(number, kind="stable")
    first = np.flatnonzero(np.diff(number[order], prepend=-1))
    row, left, right = (part[order] for part in (start // width - 1, start % width - 1, stop % width - 2))
    top, left = np.minimum.reduceat(row, first), np.minimum.reduceat(left, first)
    bottom, right = np.maximum.reduceat(row, first), np.maximum.reduceat(right, first)
    number = np.repeat(number, stop - start)
    return Components(number, np.bincount(number), top, left, bottom, right, np.maximum(bottom - top, right - left) + 1)


def _connected(start: Integers, stop: Integers, width: int) -> Integers:
    """Return the component number of each run, counted from 0.

    Runs touch if a pixel of one is among the eight neighbours of a pixel of the other.
    """
    first = np.searchsorted(stop, start - width)
    count = np.searchsorted(start, stop - width, "right") - first  # of the runs above that touch it
    one = np.repeat(np.arange(len(start)), count)
    other = np.arange(len(one)) - np.repeat(np.cumsum(count) - count - first, count)
    leader = np.arange(len(start))  # a run of the same component, in the end one for all of them
    while (leader[one] != leader[other]).any():
        np.minimum.at(leader, np.maximum(leader[one], leader[other]), np.minimum(leader[one], leader[other]))
        leader = leader[leader]
    return np.unique(leader, return_inverse=True)[1]


def bounding_box(mask: npt.NDArray[Any]) -> tuple[slice, slice]:
    """Return the rows and columns from first to last set pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
