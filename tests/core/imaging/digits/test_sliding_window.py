"""core.imaging.digits.sliding_window: the same as computing each window by itself."""

import numpy as np
import pytest

from core.imaging.digits.sliding_window import average, slide

VALUES = np.random.default_rng(0).integers(0, 100, (9, 14))


@pytest.mark.parametrize("window", [1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("pick", [np.minimum, np.maximum], ids=lambda pick: pick.__name__)
def test_each_window_gives_its_extreme(window: int, axis: int, pick: np.ufunc) -> None:
    padded = np.pad(VALUES, [(20, 20) if side == axis % 2 else (0, 0) for side in range(2)], mode="edge")
    first = 20 - window // 2
    wanted = [
        pick.reduce(padded.take(range(first + place, first + place + window), axis), axis)
        for place in range(VALUES.shape[axis])
    ]
    np.testing.assert_array_equal(slide(VALUES, window, pick, axis), np.stack(wanted, axis))


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_each_square_gives_its_mean(reach: int) -> None:
    padded = np.pad(VALUES.astype(np.float32), reach, mode="edge")
    side = 2 * reach + 1
    wanted = np.lib.stride_tricks.sliding_window_view(padded, (side, side)).mean((2, 3))
    np.testing.assert_allclose(average(VALUES[None].astype(np.float32), reach)[0], wanted, rtol=1e-5)


def test_an_axis_shorter_than_the_window_is_no_problem() -> None:
    assert slide(np.array([[3, 1, 2]]), 50, np.maximum, 1).tolist() == [[3, 3, 3]]
    assert average(np.ones((1, 1, 1), np.float32), 5).tolist() == [[[1]]]
