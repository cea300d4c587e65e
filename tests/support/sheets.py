"""Draw real digits on paper that photos and drawings spoil.

The digits are those of tuneserve/digits.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.imaging.preparation import Pixels
from tests.conftest import DIGIT_FILES

Plane = npt.NDArray[np.float64]  # h x w, 0..1: how much ink covers the paper
Colour = tuple[int, int, int]
HEIGHT, WIDTH, SIDE = 240, 300, 110  # pixels: of a sheet, and of a digit's picture on it
BLUE, BLACK, WHITE, CREAM = (30, 40, 130), (20, 20, 20), (255, 255, 255), (235, 228, 210)


def covered(digit: int, place: tuple[int, int] = (60, 80), side: int = SIDE) -> Plane:
    """Draw a sheet's ink: a digit's picture at that row and column.

    ``place`` is its upper left corner.
    """
    with Image.open(DIGIT_FILES[digit]) as file:
        picture = file.convert("L").resize((side, side), Image.Resampling.LANCZOS)
    ink = np.zeros((HEIGHT, WIDTH))
    ink[place[0] : place[0] + side, place[1] : place[1] + side] = 1 - np.asarray(picture) / 255
    return ink


def painted(ink: Plane, pen: Colour = BLACK, paper: Colour = WHITE, light: Plane | float = 1.0) -> Pixels:
    """Paint ink on paper, h x w x 3, under a light.

    1 is full light.
    """
    sheet = ink[..., None] * np.array(pen) + (1 - ink[..., None]) * np.array(paper)
    return as_pixels(sheet * np.asarray(light)[..., None])


def as_pixels(values: npt.NDArray[np.floating]) -> Pixels:
    return values.round().clip(0, 255).astype(np.uint8)


def ramp(darkest: float) -> Plane:
    """Make light from the upper left."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    return np.asarray(1 - (1 - darkest) * (x + y) / 2)


def shadow(depth: float) -> Plane:
    """Make a hard shadow over the right part of the sheet.

    Its edge is slanted and goes through the digit's place.
    """
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.where(x > 120 + y / 4, depth, 1.0)


def lines(step: int, squared: bool = True) -> Plane:
    """Make ruled or squared paper with lines two pixels wide."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.asarray(((y + 7) % step < 2) | (squared & ((x + 13) % step < 2)), float)


def grain(strength: float, seed: int = 0) -> Callable[[Pixels], Pixels]:
    """Make noise of that standard deviation in grey levels."""
    chance = np.random.default_rng(seed)
    return lambda sheet: as_pixels(sheet + chance.normal(0, strength, sheet.shape))
