"""MNIST's form of a digit: a 20-pixel box centred in 28.

The ink is light. It is scaled to the box, whose centre of mass is centred in the frame.

Source: LeCun's MNIST page; what it leaves open was measured on the 60,000 training images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.imaging.digits.connected_components import bounding_box
from core.imaging.digits.sliding_window import slide

Ink = npt.NDArray[np.floating[Any]]  # h x w, 0..1

DIGIT_SIDE = 28  # pixels of the frame
DIGIT_BOX = 20  # pixels of the box in it that holds the ink
CENTRE = 14.0  # row and column of MNIST's centres of mass, to half a pixel
MIN_BOX, OFF_CENTRE = 18, 1.25  # pixels: what still counts as MNIST's form
FINE = 4  # times finer than the frame: where strokes are measured and changed
THIN, WIDE, USUAL = 1.9, 4.2, 2.2  # stroke widths in pixels: most training images are between 1.4 and 3.7, median 2.2


def has_digit_form(grey: npt.NDArray[np.uint8]) -> bool:
    """Check whether an image has MNIST's form; an empty frame has.

    In plain Python: for so few numbers it is three times as fast as numpy, and every request waits for it.
    """
    if grey.shape != (DIGIT_SIDE, DIGIT_SIDE):
        return False
    pixels = grey.tobytes()
    edge = pixels[:DIGIT_SIDE], pixels[-DIGIT_SIDE:], pixels[::DIGIT_SIDE], pixels[DIGIT_SIDE - 1 :: DIGIT_SIDE]
    if sum(line.count(0) for line in edge) <= 2 * DIGIT_SIDE:  # half of it has ink; a few reach their edge
        return False
    profiles = [grey.sum(axis).tolist() for axis in (1, 0)]
    if not any(profiles[0]):
        return True
    box = max(_extent(profile) for profile in profiles)
    off = max(abs(_centre(profile) - CENTRE) for profile in profiles)
    return MIN_BOX <= box <= DIGIT_BOX and off <= OFF_CENTRE


def draw_digit(ink: Ink, strokes: bool) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
    """Draw the digit in MNIST's form and report what was done.

    With ``strokes``, those that are much wider or narrower than MNIST's become like them.
    """
    if not strokes:
        return centre_in_frame(ink), {"centred": True}
    fine, enlarged = _fitted(ink, FINE * DIGIT_BOX), FINE * DIGIT_BOX / max(ink.shape)
    if enlarged > 2:  # as sharp as it was
        fine = ((fine - 0.5) * (enlarged / 2) + 0.5).clip(0, 1)
    width = stroke_width(fine) / FINE
    steps = 0 if THIN <= width <= WIDE else round(((USUAL if width < THIN else WIDE) - width) * FINE / 2)
    changed = _grown(fine, steps)
    solid = changed > 0.5
    frame = centre_in_frame(changed[bounding_box(solid)] if solid.any() else changed)
    return frame, {"centred": True} | ({"strokes": "thickened" if steps > 0 else "thinned"} if steps else {})


def centre_in_frame(ink: Ink) -> npt.NDArray[np.uint8]:
    """Scale ink (0..1) to 20x20 and centre it by mass.

    Keeps the aspect. The centre of mass lies where that of MNIST's digits does.
    """
    small = _fitted(ink, DIGIT_BOX)
    small = small / max(float(small.max()), 1e-6)
    height, width = small.shape
    row, column = (_centre(small.sum(axis, dtype=np.float64).tolist()) for axis in (1, 0))
    y = min(max(round(CENTRE - row), 0), DIGIT_SIDE - height)
    x = min(max(round(CENTRE - column), 0), DIGIT_SIDE - width)
    frame = np.zeros((DIGIT_SIDE, DIGIT_SIDE, 1), np.uint8)
    frame[y : y + height, x : x + width, 0] = np.round(small * 255).astype(np.uint8)
    return frame


def stroke_width(ink: Ink) -> float:
    """Estimate the stroke width in pixels.

    It is twice the area divided by the length of the outline, which is the sum of all slopes.
    """
    padded = np.pad(ink, 1)
    outline = np.hypot(np.diff(padded, axis=0)[:, :-1], np.diff(padded, axis=1)[:-1]).sum()
    return 2 * float(ink.sum()) / max(float(outline), 1e-6)


def _extent(profile: Sequence[float]) -> int:
    """Return the length from the first to the last non-zero place."""
    filled = [place for place, value in enumerate(profile) if value]
    return filled[-1] - filled[0] + 1


def _centre(profile: Sequence[float]) -> float:
    """Return the centre of mass of a profile."""
    return sum(place * value for place, value in enumerate(profile)) / max(sum(profile), 1e-6)


def _fitted(ink: Ink, box: int) -> Ink:
    """Scale to fit a square of that side, keeping the aspect."""
    scale = box / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(ink.astype(np.float32)).resize((width, height), method)).clip(0, 1)


def _grown(ink: Ink, steps: int) -> Ink:
    """Widen strokes by two pixels a step; negative steps narrow them.

    Squares and diamonds take turns as the structuring element.
    """
    pick = np.maximum if steps > 0 else np.minimum
    ink = np.pad(ink, 2 * abs(steps) + 1)
    for step in range(abs(steps)):
        beside = slide(ink, 3, pick, 1)
        middle = beside if step % 2 else ink[:, 1:-1]
        ink = pick(slide(middle, 3, pick, 0), beside[1:-1])
    return ink
