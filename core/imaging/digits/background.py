"""Contrast of each pixel against the paper around it, despite uneven light."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFilter

from core.imaging.digits.sliding_window import opening

Picture = npt.NDArray[np.uint8]  # h x w, or h x w x 3
Plane = npt.NDArray[np.float32]  # h x w
Weights = npt.NDArray[np.float32]  # one per colour, negative where ink is darker than paper

WHITE = 255
SAMPLES = 64  # along the longer side: enough to see which colour is the ink's
SURROUNDINGS = 0.25  # of the longer side, to each side of a pixel: a stroke is narrower than both together
DARKEST = 0.25  # of the brightest light: contrast in a deeper shadow is not raised further
UNEVEN = 0.9  # of the brightest light: a picture that is darker somewhere counts as unevenly lit
SPREAD = 1.57  # standard deviations of normal noise per median distance from the mean of nine pixels
SMALL = 128  # pixels of the longer side: a smaller picture is smoothed less, as its strokes are a few pixels wide


@dataclass(frozen=True)
class Contrast:
    values: Plane  # grey levels: about 0 on paper, more on ink
    noise: float  # standard deviation, grey levels
    inverted: bool  # the ink is darker than the paper
    flattened: bool  # uneven light was removed


def subtract_background(picture: Picture) -> Contrast:
    """Subtract the paper, estimated by a morphological opening.

    The window is as wide as the surroundings of a pixel.

    An opening leaves the edge of a shadow in its place. In the shade ink differs from paper less, in proportion.
    """
    image = Image.fromarray(picture)
    reach = max(1, round(SURROUNDINGS * max(image.size)))
    ink = _ink_weights(_local_offset(image, reach) - _local_offset(ImageChops.invert(image), reach))  # rounded alike
    tone = _tone(image, ink)
    plane, smooth = np.asarray(tone), np.asarray(tone.filter(ImageFilter.BoxBlur(min(1, max(image.size) / SMALL))))
    paper = opening(smooth, 2 * reach + 1)
    light = WHITE * np.abs(ink).sum() - paper  # a negative is lit as its picture is
    gain = light.max() / light.clip(max(DARKEST * light.max(), 1), None)
    some = np.s_[::2, ::2]
    noise = SPREAD * float(np.median(np.abs((plane[some] - smooth[some].astype(np.float32)) * gain[some])))
    values = (plane - paper.astype(np.float32)) * gain
    return Contrast(values, noise, bool(ink.sum() < 0), bool(light.min() < UNEVEN * light.max()))


def subtract_edge_colour(picture: Picture) -> Contrast:
    """Subtract the median colour of the outermost pixels."""
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    offset = picture - np.median(edge, 0).astype(np.float32)
    ink = _ink_weights(offset)
    values = np.einsum("nc,c->n", offset.reshape(-1, len(ink)), ink).reshape(picture.shape[:2])
    return Contrast(values, 0.0, bool(ink.sum() < 0), flattened=False)


def _local_offset(image: Image.Image, reach: int) -> Plane:
    """Subtract from each pixel the mean around it, at reduced size."""
    step = max(1, max(image.size) // SAMPLES)
    small = image.reduce(step)
    return np.asarray(small, np.float32) - np.asarray(small.filter(ImageFilter.BoxBlur(reach / step)), np.float32)


def _ink_weights(offset: npt.NDArray[np.float32]) -> Weights:
    """Return the unit vector from the paper's colour to the ink's.

    It is the third moment of the offsets, as ink is rare and lies farthest.

    With these weights black on white has the contrast of its grey levels.
    """
    pixels = offset.reshape(offset.shape[0] * offset.shape[1], -1)
    total = np.einsum("nc,n->c", pixels, np.einsum("nc,nc->n", pixels, pixels))
    length = float(np.linalg.norm(total)) * len(total) ** 0.5
    return np.asarray(total / max(length, 1e-9), np.float32)


def _tone(image: Image.Image, ink: Weights) -> Image.Image:
    """Convert to grey levels that rise toward the ink's colour.

    A picture and its negative give the same.
    """
    if ink.sum() < 0:
        image, ink = ImageChops.invert(image), -ink
    offset = WHITE * float(-ink.clip(None, 0).sum())
    return image if image.mode == "L" else image.convert("L", (*map(float, ink), offset))
