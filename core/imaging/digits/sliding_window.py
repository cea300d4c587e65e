"""Minimum, maximum and mean over a window that slides along one axis. The picture goes on beyond its edge unchanged."""

import functools
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Scalar = TypeVar("Scalar", bound=np.generic)


def slide(values: npt.NDArray[Scalar], window: int, pick: np.ufunc, axis: int) -> npt.NDArray[Scalar]:
    """``pick`` (np.minimum or np.maximum) of the ``window`` pixels around each one, or of one more before than after.

    By doubling: each step joins two windows that are known already.
    """
    found, known = _continued(values, window // 2, window - 1 - window // 2, axis), 1
    while known < window:
        step = min(known, window - known)
        ends = found.shape[axis] - step
        found = pick(_part(found, 0, ends, axis), _part(found, step, ends + step, axis))
        known += step
    return found


def average(values: npt.NDArray[np.float32], reach: int) -> npt.NDArray[np.float32]:
    """The mean of the square around each pixel of the last two axes, of 2 x reach + 1 pixels a side."""
    for axis in (-1, -2):
        there, length = _continued(values, reach, reach, axis), values.shape[axis]
        parts = [_part(there, start, start + length, axis) for start in range(2 * reach + 1)]
        values = functools.reduce(np.add, parts) / np.float32(len(parts))
    return values


def _continued(values: npt.NDArray[Scalar], before: int, after: int, axis: int) -> npt.NDArray[Scalar]:
    """By so many pixels like the first and the last one."""
    length = values.shape[axis]
    first, last = _part(values, 0, 1, axis), _part(values, length - 1, length, axis)
    return np.concatenate([np.repeat(first, before, axis), values, np.repeat(last, after, axis)], axis)


def _part(values: npt.NDArray[Scalar], start: int, end: int, axis: int) -> npt.NDArray[Scalar]:
    place = [slice(None)] * values.ndim
    place[axis] = slice(start, end)
    return values[tuple(place)]
