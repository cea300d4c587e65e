"""Connected marks on the sheet, and which of them are the digit. Neighbours are all eight around a pixel."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.digits.paper import Mask, Plane

Integers = npt.NDArray[np.intp]

TINY = 4  # pixels: smaller marks are grain
SHORT = 0.03  # of the sheet's longer side, which a digit exceeds
PART = 0.18  # of the digit's main mark: shorter ones are dirt
FAR = 0.25  # of its size: what is farther from it is not its part
PALE = 0.5  # of its contrast: what is paler neither
ALONG_EDGE = 0.5  # of a mark's size: with that much on the edge it comes from outside: a shadow, the table
TRUST = np.array([1.0, 0.5, 0.15, 0.1, 0.1])  # in a mark that touches so many of the four edges
DISTRUST = 0.1  # in one along the edge


@dataclass(frozen=True)
class Marks:
    """Arrays with one entry a mark, but for ``places`` and ``number``: one a pixel."""

    places: Integers  # in the flat mask
    number: Integers  # of the pixel's mark
    area: npt.NDArray[np.float64]
    contrast: npt.NDArray[np.float64]  # mean
    weight: npt.NDArray[np.float64]  # sum of the squares of the contrasts
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
    digit = np.zeros(mask.size, np.bool_)
    digit[marks.places[kept[marks.number]]] = True
    return digit.reshape(mask.shape), int(((marks.area >= TINY) & ~kept).sum())


def find_marks(mask: Mask, values: Plane, ruling: Mask) -> Marks:
    places, number = np.flatnonzero(mask), number_marks(mask)
    order = np.argsort(number, kind="stable")
    first = np.flatnonzero(np.diff(number[order], prepend=-1))
    y, x = np.divmod(places[order], mask.shape[1])
    dark = values.ravel()[places[order]]
    on_edge = (y == 0) | (y == mask.shape[0] - 1) | (x == 0) | (x == mask.shape[1] - 1)
    area = np.diff(np.append(first, len(order))).astype(np.float64)
    return Marks(
        places=places,
        number=number,
        area=area,
        contrast=np.add.reduceat(dark, first) / area,
        weight=np.add.reduceat(dark.astype(np.float64) ** 2, first),
        strongest=np.maximum.reduceat(dark, first),
        on_ruling=np.add.reduceat(ruling.ravel()[places[order]].astype(np.float64), first) / area,
        top=np.minimum.reduceat(y, first),
        bottom=np.maximum.reduceat(y, first),
        left=np.minimum.reduceat(x, first),
        right=np.maximum.reduceat(x, first),
        on_edge=np.add.reduceat(on_edge.astype(np.intp), first),
    )


def number_marks(mask: Mask) -> Integers:
    """The number of each set pixel's mark, from 0, in the order of ``np.flatnonzero(mask)``."""
    padded = np.pad(mask, 1)  # so that no row's end is a neighbour of the next one's start
    places = np.flatnonzero(padded)
    run = np.cumsum(np.diff(places, prepend=-2) > 1) - 1  # pixels beside each other in a row
    runs = np.full(padded.size, -1)
    runs[places] = run
    above = np.concatenate([runs[places - padded.shape[1] + step] for step in (-1, 0, 1)])
    joined = above >= 0
    return np.asarray(_numbers(np.tile(run, 3)[joined], above[joined], int(run[-1]) + 1)[run], np.intp)


def _numbers(one: Integers, other: Integers, count: int) -> Integers:
    """Of ``count`` runs: the same number for all that the pairs (one, other) join, directly or through others."""
    leader = np.arange(count)
    while not np.array_equal(
        low := np.minimum(leader[one], leader[other]), high := np.maximum(leader[one], leader[other])
    ):
        np.minimum.at(leader, high, low)
        while not np.array_equal(leader, leader[leader]):
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
