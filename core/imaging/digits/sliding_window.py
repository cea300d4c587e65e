"""Grey-scale morphology with minimum and maximum filters.

Beyond its edge a picture goes on unchanged.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]


def opening(values: Values, window: int, axes: Sequence[int] = (0, 1)) -> Values:
    """Remove bright structures narrower than the window, which is in pixels."""
    values = np.pad(values, [(window - 1,) * 2 if axis in axes else (0, 0) for axis in range(values.ndim)], "edge")
    for pick in (np.minimum, np.maximum):
        for axis in axes:
            values = slide(values, window, pick, axis)
    return values


def slide(values: Values, window: int, pick: np.ufunc, axis: int) -> Values:
    """Apply np.minimum or np.maximum to each window inside the array.

    Each step joins two windows that overlap or touch, so that their number grows with the logarithm of the window.
    """
    found, known = np.moveaxis(values, axis, 0), 1
    while known < window:
        step = min(known, window - known)
        found = pick(found[:-step], found[step:])
        known += step
    return np.moveaxis(found, 0, axis)
