"""Minimum, maximum and mean over a window that slides along one axis. The picture goes on beyond its edge unchanged."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Scalar = TypeVar("Scalar", bound=np.generic)


def slide(values: npt.NDArray[Scalar], window: int, pick: np.ufunc, axis: int) -> npt.NDArray[Scalar]:
    """``pick`` (np.minimum or np.maximum) of the ``window`` pixels around each one, or of one more before than after.

    By doubling: each step joins two windows that are known already.
    """
    before = window // 2
    last = values.shape[axis] - 1
    there = np.arange(-before, last + window - before).clip(0, last)
    found, known = values.take(there, axis), 1
    while known < window:
        step = min(known, window - known)
        ends = found.shape[axis] - step
        found = pick(_part(found, 0, ends, axis), _part(found, step, ends + step, axis))
        known += step
    return found


def average(values: npt.NDArray[np.float32], reach: int) -> npt.NDArray[np.float32]:
    """The mean of the square around each pixel of the last two axes, of 2 x reach + 1 pixels a side."""
    for axis in (-1, -2):
        last = values.shape[axis] - 1
        there = np.arange(-reach - 1, last + reach + 1).clip(0, last)
        sums = values.take(there, axis).cumsum(axis, dtype=np.float64)
        window = 2 * reach + 1
        ends = sums.shape[axis]
        difference = _part(sums, window, ends, axis) - _part(sums, 0, ends - window, axis)
        values = (difference / window).astype(np.float32)
    return values


def _part(values: npt.NDArray[Scalar], start: int, end: int, axis: int) -> npt.NDArray[Scalar]:
    place = [slice(None)] * values.ndim
    place[axis] = slice(start, end)
    return values[tuple(place)]
