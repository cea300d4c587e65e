"""core.imaging.digits.background: how far each pixel is from the paper, whatever the light."""

import numpy as np
import numpy.typing as npt
import pytest

from core.imaging.digits.background import Contrast, subtract_background, subtract_edge_colour
from tests.support.sheets import (
    BLACK,
    BLUE,
    CREAM,
    HEIGHT,
    WHITE,
    WIDTH,
    Plane,
    covered,
    grain,
    lines,
    painted,
    ramp,
    shadow,
)

INK, PAPER = covered(3) > 0.9, covered(3) == 0


def measured(sheet: npt.NDArray[np.uint8]) -> Contrast:
    return subtract_background(sheet)


def parted(contrast: Contrast, paper: npt.NDArray[np.bool_] = PAPER) -> float:
    """Return how much more contrast the ink has than the paper.

    It compares the palest ink with the darkest paper, but for a few pixels of each.
    """
    return float(np.percentile(contrast.values[INK], 2) - np.percentile(contrast.values[paper], 98))


@pytest.mark.parametrize(("pen", "paper", "inverted"), [(BLACK, WHITE, True), (WHITE, BLACK, False)], ids=str)
def test_a_drawing_has_one_paper_and_its_ink_is_dark_or_light(
    pen: tuple[int, int, int], paper: tuple[int, int, int], inverted: bool
) -> None:
    contrast = measured(painted(covered(3), pen, paper))
    assert (contrast.inverted, contrast.flattened) == (inverted, False)
    assert parted(contrast) > 150
    assert np.abs(contrast.values[PAPER]).max() < 1


def test_colours_of_the_same_grey_are_told_apart() -> None:
    assert parted(measured(painted(covered(3), (200, 40, 40), (40, 120, 50)))) > 60


@pytest.mark.parametrize("darkest", [0.3, 0.5, 0.7])
def test_light_from_one_side_is_evened_out(darkest: float) -> None:
    contrast = measured(painted(covered(3), BLUE, CREAM, ramp(darkest)))
    assert contrast.flattened
    assert parted(contrast) > 80
    assert np.abs(contrast.values[PAPER]).mean() < 5


@pytest.mark.parametrize("depth", [0.5, 0.7])
def test_the_edge_of_a_shadow_is_not_ink(depth: float) -> None:
    contrast = measured(painted(covered(3), BLUE, CREAM, shadow(depth)))
    assert contrast.flattened
    assert parted(contrast) > 60


def test_ink_in_the_shade_is_lifted_as_far_as_ink_in_the_light() -> None:
    contrast = measured(painted(covered(3), BLUE, CREAM, shadow(0.6)))
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    shaded = x > 125 + y / 4
    lit, dim = (contrast.values[INK & place].mean() for place in (~shaded, shaded))
    assert 0.8 < dim / lit < 1.25


@pytest.mark.parametrize("light", [ramp(0.35), ramp(0.6), shadow(0.5), shadow(0.7)], ids=["dim", "lit", "deep", "pale"])
def test_the_negative_of_a_sheet_has_the_contrast_of_the_sheet(light: Plane) -> None:
    sheet = painted(covered(3), BLUE, CREAM, light)
    one, other = measured(sheet), measured(255 - sheet)
    assert (one.inverted, other.inverted) == (True, False)
    np.testing.assert_allclose(other.values, one.values, atol=1)


def test_noise_and_squares_leave_the_ink_the_darkest() -> None:
    sheet = grain(8)(painted(np.maximum(covered(3), 0.3 * lines(34)), BLUE, CREAM, ramp(0.6)))
    assert parted(measured(sheet), PAPER & (lines(34) == 0)) > 50


@pytest.mark.parametrize("strength", [5, 15])
def test_the_noise_is_measured(strength: int) -> None:
    grey = grain(strength)(painted(covered(3), BLACK, (128, 128, 128)))[..., 0]
    assert measured(grey).noise == pytest.approx(strength, rel=0.15)


def test_the_plain_way_takes_the_edge_for_paper() -> None:
    contrast = subtract_edge_colour(painted(covered(3), BLACK, CREAM))
    assert (contrast.inverted, contrast.flattened) == (True, False)
    assert np.abs(contrast.values[PAPER]).max() < 1
    assert parted(contrast) > 150
