"""Grey-scale morphology with minimum and maximum filters. Beyond its edge a picture goes on unchanged."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]


def opening(values: Values, window: int, axes: Sequence[int] = (0, 1)) -> Values:
    """Remove what is brighter than its surroundings and narrower than the window, in pixels."""
    values = np.pad(values, [(window - 1,) * 2 if axis in axes else (0, 0) for axis in range(values.ndim)], "edge")
    for pick in (np.minimum, np.maximum):
        for axis in axes:
            values = slide(values, window, pick, axis)
    return values


def slide(values: Values, window: int, pick: np.ufunc, axis: int) -> Values:
    """Pick (np.minimum or np.maximum) from each window that lies inside; each step joins two that overlap or touch."""
    found, known = np.moveaxis(values, axis, 0), 1
    while known < window:
        step = min(known, window - known)
        found = pick(found[:-step], found[step:])
        known += step
    return np.moveaxis(found, 0, axis)
