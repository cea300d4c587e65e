"""Connected marks on the sheet, and which of them are the digit. Neighbours are all eight around a pixel."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from core.imaging.digits.background import Mask, Plane

Integers = npt.NDArray[np.intp]
Scalar = TypeVar("Scalar", bound=np.generic)

TINY = 4  # pixels: smaller marks are grain
SHORT = 0.03  # of the sheet's longer side, which a digit exceeds
PART = 0.18  # of the digit's main mark: shorter ones are dirt
FAR = 0.25  # of its size: what is farther from it is not its part
PALE = 0.5  # of its contrast: what is paler neither
ALONG_EDGE = 0.5  # of a mark's size: with that much on the edge it comes from outside: a shadow, the table
TRUST = np.array([1.0, 0.5, 0.15, 0.1, 0.1])  # in a mark that touches so many of the four edges
DISTRUST = 0.1  # in one along the edge


@dataclass(frozen=True)
class Runs:
    """Pixels beside each other in a row. Arrays with one entry a run, in the order of the mask's pixels."""

    row: Integers
    left: Integers
    right: Integers  # last column

    @property
    def length(self) -> Integers:
        return np.asarray(self.right - self.left + 1)


@dataclass(frozen=True)
class Marks:
    """Arrays with one entry a mark, but for ``number``: one a pixel."""

    number: Integers  # of the pixel's mark
    area: Integers
    contrast: npt.NDArray[np.float64]  # mean
    weight: npt.NDArray[np.float32]  # sum of the squares of the contrasts
    strongest: npt.NDArray[np.float32]
    on_ruling: npt.NDArray[np.float64]  # share of its pixels
    top: Integers
    bottom: Integers  # last row
    left: Integers
    right: Integers  # last column
    on_edge: Integers  # pixels

    @property
    def size(self) -> Integers:
        return np.asarray(np.maximum(self.bottom - self.top, self.right - self.left) + 1)


def digit_among(mask: Mask, values: Plane, strong: float, ruling: Mask) -> tuple[Mask, int] | None:
    """The digit's pixels, and how many other marks there were. None if no mark could be one.

    A mark counts that is as dark as ``strong`` somewhere and not what is left of the ``ruling``.
    """
    marks = find_marks(mask, values, ruling)
    likely = (marks.strongest > strong) & (marks.area >= TINY) & (marks.on_ruling < 0.5)
    edges = _edges_touched(marks, mask.shape)
    along_edge = marks.on_edge > ALONG_EDGE * marks.size
    score = marks.weight * TRUST[edges] * np.where(along_edge, DISTRUST, 1) * likely
    if not score.any() or marks.size[main := int(score.argmax())] < max(TINY, SHORT * max(mask.shape)):
        return None
    foreign = along_edge | (edges > 1)
    kept = likely & _parts_of(marks, main) & (~foreign | foreign[main])
    digit = np.zeros_like(mask)
    digit[mask] = kept[marks.number]
    return digit, int(((marks.area >= TINY) & ~kept).sum())


def find_marks(mask: Mask, values: Plane, ruling: Mask) -> Marks:
    """Pixels are summed up by runs, of which there are few, and these by marks."""
    runs = find_runs(mask)
    number = number_marks(runs, mask.shape[1])
    order = np.argsort(number, kind="stable")
    first = np.flatnonzero(np.diff(number[order], prepend=-1))
    first_pixel = np.cumsum(runs.length) - runs.length

    def of_marks(of_runs: npt.NDArray[Scalar], join: np.ufunc = np.add) -> npt.NDArray[Scalar]:
        return np.asarray(join.reduceat(of_runs[order], first))

    dark, ruled = values[mask], ruling[mask]
    area, whole_row = of_marks(runs.length), (runs.row == 0) | (runs.row == mask.shape[0] - 1)
    ends = (runs.left == 0).astype(np.intp) + (runs.right == mask.shape[1] - 1)
    return Marks(
        number=np.repeat(number, runs.length),
        area=area,
        contrast=of_marks(np.add.reduceat(dark, first_pixel)) / area,
        weight=of_marks(np.add.reduceat(dark * dark, first_pixel)),
        strongest=of_marks(np.maximum.reduceat(dark, first_pixel), np.maximum),
        on_ruling=of_marks(np.add.reduceat(ruled, first_pixel, dtype=np.intp)) / area,
        top=of_marks(runs.row, np.minimum),
        bottom=of_marks(runs.row, np.maximum),
        left=of_marks(runs.left, np.minimum),
        right=of_marks(runs.right, np.maximum),
        on_edge=of_marks(np.where(whole_row, runs.length, ends)),
    )


def find_runs(mask: Mask) -> Runs:
    padded = np.pad(mask, ((0, 0), (1, 1)))  # so that no run goes on in the next row
    row, column = np.divmod(np.flatnonzero(np.diff(padded.ravel())), padded.shape[1])
    return Runs(row[::2], column[::2], column[1::2] - 1)


def number_marks(runs: Runs, width: int) -> Integers:
    """The number of each run's mark, from 0."""
    row = runs.row * (width + 2)  # wider than the mask: no row's end is a neighbour of the next one's start
    left, right = row + runs.left, row + runs.right
    first = np.searchsorted(right, left - width - 3)
    count = np.searchsorted(left, right - width - 1, "right") - first  # of the runs above that touch it
    one = np.repeat(np.arange(len(left)), count)
    other = np.arange(len(one)) - np.repeat(np.cumsum(count) - count - first, count)
    return _numbers(one, other, len(left))


def _numbers(one: Integers, other: Integers, count: int) -> Integers:
    """Of ``count`` runs: the same number for all that the pairs (one, other) join, directly or through others."""
    leader = np.arange(count)
    while ((low := np.minimum(leader[one], leader[other])) != (high := np.maximum(leader[one], leader[other]))).any():
        np.minimum.at(leader, high, low)
        while (leader != leader[leader]).any():
            leader = leader[leader]
    return np.unique(leader, return_inverse=True)[1]


def _edges_touched(marks: Marks, shape: tuple[int, ...]) -> Integers:
    touched = [marks.top == 0, marks.bottom == shape[0] - 1, marks.left == 0, marks.right == shape[1] - 1]
    return np.asarray(np.sum(touched, axis=0), np.intp)


def _parts_of(marks: Marks, main: int) -> npt.NDArray[np.bool_]:
    """Which marks belong to the same digit as the main one: the bar of a 5 that was set apart, say."""
    size = marks.size[main]
    above_or_below = np.maximum(marks.top[main] - marks.bottom, marks.top - marks.bottom[main])
    beside = np.maximum(marks.left[main] - marks.right, marks.left - marks.right[main])
    near = np.maximum(above_or_below, beside) <= FAR * size
    return np.asarray(near & (marks.size >= PART * size) & (marks.contrast >= PALE * marks.contrast[main]))
