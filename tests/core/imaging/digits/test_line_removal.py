"""core.imaging.digits.line_removal: lines across the sheet are told from strokes."""

import numpy as np
import numpy.typing as npt
import pytest

from core.imaging.digits.line_removal import find_lines, lines_across

Mask = npt.NDArray[np.bool_]
HEIGHT, WIDTH = 200, 240


def ruled(rows: range, slope: float = 0.0, thick: int = 2) -> Mask:
    """Lines whose middles lie on those rows."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    line = np.rint(y - slope * (x - WIDTH / 2)).astype(int)
    return np.asarray(np.isin(line, [row + part for row in rows for part in range(thick)]))


def ring() -> Mask:
    """A zero, its strokes eight pixels wide."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.asarray(np.abs(np.hypot((y - 100) / 1.4, x - 120) - 40) < 4)


@pytest.mark.parametrize("slope", [-0.2, -0.05, 0.0, 0.03, 0.1])
@pytest.mark.parametrize("thick", [1, 2, 4])
def test_lines_are_found_at_any_slight_slope(slope: float, thick: int) -> None:
    mask = ruled(range(30, 180, 40), slope, thick)
    lines = lines_across(mask)
    assert len(lines) == 4
    assert sum(line.sum() for line in lines) > 0.95 * mask.sum()


def test_a_digit_without_lines_has_none() -> None:
    assert find_lines(ring())[0] == 0


def test_lines_go_and_the_digit_on_them_stays() -> None:
    count, pixels = find_lines(ring() | ruled(range(20, 200, 30)))
    assert count == 6
    assert (pixels & ~ring()).sum() > 0.95 * (ruled(range(20, 200, 30)) & ~ring()).sum()
    assert (ring() & ~pixels).sum() > 0.9 * ring().sum()


def test_squares_are_found_in_both_directions() -> None:
    down = np.zeros((HEIGHT, WIDTH), np.bool_)
    down[:, 15::40] = down[:, 16::40] = True
    assert find_lines(ring() | ruled(range(20, 200, 40)) | down)[0] == 5 + 6


def test_dashed_lines_are_lines_too() -> None:
    dashes = ruled(range(20, 200, 40)) & (np.arange(WIDTH) % 10 < 6)
    assert find_lines(ring() | dashes)[0] == 5


def test_the_bar_of_a_digit_that_fills_the_sheet_is_no_line() -> None:
    seven = ruled(range(3, 4), thick=5)
    seven[:, 110:118] = True
    assert find_lines(seven)[0] == 0


def test_one_line_beside_a_digit_in_the_middle_is_taken_away() -> None:
    count, pixels = find_lines(ring() | ruled(range(180, 181)))
    assert count == 1
    assert not (pixels & ring()).any()


def test_short_strokes_are_no_lines() -> None:
    short = ruled(range(30, 180, 40))
    short[:, :80] = short[:, 160:] = False
    assert lines_across(short) == []
