"""core.imaging.digits.sliding_window: the same as computing each window alone."""

import numpy as np
import pytest

from core.imaging.digits.sliding_window import opening, slide

VALUES = np.random.default_rng(0).integers(0, 100, (9, 14))


@pytest.mark.parametrize("window", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("pick", [np.minimum, np.maximum], ids=lambda pick: pick.__name__)
def test_each_window_gives_its_extreme(window: int, axis: int, pick: np.ufunc) -> None:
    windows = np.lib.stride_tricks.sliding_window_view(VALUES, window, axis)
    np.testing.assert_array_equal(slide(VALUES, window, pick, axis), pick.reduce(windows, axis=-1))


@pytest.mark.parametrize("window", [2, 3, 5, 30])
def test_an_opening_is_the_highest_of_all_lowest(window: int) -> None:
    padded = np.pad(VALUES, window - 1, mode="edge")
    lowest = np.lib.stride_tricks.sliding_window_view(padded, (window, window)).min((2, 3))
    wanted = np.lib.stride_tricks.sliding_window_view(lowest, (window, window)).max((2, 3))
    np.testing.assert_array_equal(opening(VALUES, window), wanted)


def test_an_opening_leaves_a_slope_and_a_step_in_their_places() -> None:
    y, x = np.mgrid[0:40, 0:60]
    for light in (2 * x + y, 100 * (x > 20 + y // 4)):
        np.testing.assert_array_equal(opening(light, 21), light)


def test_along_one_axis_what_is_high_enough_stays() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[3:5], mask[:, 8:10] = True, True
    found = opening(mask, 4, axes=[0])
    assert found[:, 8:10].all()
    assert found.sum() == 40
