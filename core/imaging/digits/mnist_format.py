"""MNIST's form of a digit: light ink on black in a box of 20 pixels, its centre of mass in the middle of a frame of 28.

Source: LeCun's MNIST page, on how the set was made. What it leaves open was measured on the 60,000 training images.
"""

from collections.abc import Iterable, Sequence
from operator import mul
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Ink = npt.NDArray[np.floating[Any]]  # h x w, 0..1

DIGIT_SIDE = 28  # the frame ...
DIGIT_BOX = 20  # ... and the box in it that holds the ink
CENTRE = 14.0  # row and column of MNIST's centres of mass, to half a pixel
LEAST_BOX, OFF_CENTRE = 18, 1.25  # pixels: what still counts as MNIST's form
FINE = 4  # times finer than the frame: where strokes are measured and changed
# stroke widths, pixels of the frame: 95 of 100 training images lie between 1.4 and 3.7, the median is 2.2
THIN, WIDE, USUAL = 1.9, 4.2, 2.2


def has_digit_form(grey: npt.NDArray[np.uint8]) -> bool:
    """Whether it is as all images of MNIST are; an empty frame is too."""
    if grey.shape != (DIGIT_SIDE, DIGIT_SIDE):
        return False
    # plain Python: with so few numbers it is three times as fast as numpy, and every request waits for it
    pixels = grey.tobytes()
    edge = pixels[:DIGIT_SIDE], pixels[-DIGIT_SIDE:], pixels[::DIGIT_SIDE], pixels[DIGIT_SIDE - 1 :: DIGIT_SIDE]
    if sum(map(_paper, edge)) <= 2 * DIGIT_SIDE:  # half of it has ink; a few reach their edge
        return False
    profiles = [grey.sum(axis).tolist() for axis in (1, 0)]
    if not any(profiles[0]):
        return True
    box = max(_extent(profile) for profile in profiles)
    off = max(abs(_middle(profile) - CENTRE) for profile in profiles)
    return LEAST_BOX <= box <= DIGIT_BOX and off <= OFF_CENTRE


def _paper(line: bytes) -> int:
    return line.count(0)


def _extent(profile: Sequence[int]) -> int:
    """From the first to the last place that has something."""
    filled = [place for place, value in enumerate(profile) if value]
    return filled[-1] - filled[0] + 1


def _middle(profile: Sequence[int]) -> float:
    """Of its mass."""
    moments: Iterable[int] = map(mul, profile, range(len(profile)))
    return sum(moments) / sum(profile)


def draw_digit(ink: Ink, strokes: bool) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
    """The digit as MNIST's authors would have given it, and what was done.

    With ``strokes``, those that are much wider or narrower than theirs become like theirs.
    """
    if not strokes:
        return centre_in_frame(ink), {"centred": True}
    fine = _enlarged(ink)
    steps = _steps_to_usual(stroke_width(fine) / FINE)
    changed = _trimmed(_grown(fine, steps))
    done = {"strokes": "thickened" if steps > 0 else "thinned"} if steps else {}
    return centre_in_frame(changed), {"centred": True, **done}


def centre_in_frame(ink: Ink) -> npt.NDArray[np.uint8]:
    """Scale ink (0..1) to fit the 20x20 box, keeping its aspect, and put its centre of mass where MNIST's are."""
    return _framed(_fitted(ink, DIGIT_BOX))


def stroke_width(ink: Ink) -> float:
    """Pixels: twice the area for each pixel of outline, which is the length of all slopes."""
    padded = np.pad(ink, 1)
    outline = np.hypot(np.diff(padded, axis=0)[:, :-1], np.diff(padded, axis=1)[:-1]).sum()
    return 2 * float(ink.sum()) / max(float(outline), 1e-6)


def _enlarged(ink: Ink) -> Ink:
    """In the fine box; as sharp as it was, though enlarging blurs."""
    fine, times = _fitted(ink, FINE * DIGIT_BOX), FINE * DIGIT_BOX / max(ink.shape)
    return fine if times <= 2 else ((fine - 0.5) * (times / 2) + 0.5).clip(0, 1)


def _steps_to_usual(width: float) -> int:
    """Steps of growing, negative ones of thinning, for strokes of that width in the frame; 0 for most."""
    if width < THIN:
        return round((USUAL - width) * FINE / 2)
    return -round((width - WIDE) * FINE / 2) if width > WIDE else 0


def _grown(ink: Ink, steps: int) -> Ink:
    """Strokes wider by two pixels a step, or narrower for negative steps; in turn by four and eight neighbours."""
    pick = np.maximum if steps > 0 else np.minimum
    ink = np.pad(ink, 2 * abs(steps) + 1)
    for step in range(abs(steps)):
        beside = pick(pick(ink[:, :-2], ink[:, 2:]), ink[:, 1:-1])
        middle = beside if step % 2 else ink[:, 1:-1]
        ink = pick(pick(middle[:-2], middle[2:]), beside[1:-1])
    return ink


def _trimmed(ink: Ink) -> Ink:
    rows, columns = np.flatnonzero((ink > 0.5).any(1)), np.flatnonzero((ink > 0.5).any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else ink


def _fitted(ink: Ink, box: int) -> Ink:
    """Scaled to fit a square of that side, keeping its aspect."""
    scale = box / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(ink.astype(np.float32)).resize((width, height), method)).clip(0, 1)


def _framed(small: Ink) -> npt.NDArray[np.uint8]:
    small = small / max(float(small.max()), 1e-6)
    height, width = small.shape
    row, column = _mass_centre(small)
    y = int(np.clip(round(CENTRE - row), 0, DIGIT_SIDE - height))
    x = int(np.clip(round(CENTRE - column), 0, DIGIT_SIDE - width))
    frame = np.zeros((DIGIT_SIDE, DIGIT_SIDE, 1), np.uint8)
    frame[y : y + height, x : x + width, 0] = np.round(small * 255).astype(np.uint8)
    return frame


def _mass_centre(ink: npt.NDArray[Any]) -> tuple[float, float]:
    mass = max(float(ink.sum()), 1e-6)
    rows, columns = ink.sum(1, dtype=np.float64), ink.sum(0, dtype=np.float64)
    return float((rows @ np.arange(len(rows))) / mass), float((columns @ np.arange(len(columns))) / mass)
