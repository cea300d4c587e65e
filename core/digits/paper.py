"""The paper of a drawing or a photo, and how far each pixel is from it toward the ink.

Planes are floats in grey levels, c x h x w: one for a grey picture, three for a coloured one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.digits.windows import average, slide

Plane = npt.NDArray[np.float32]  # h x w
Planes = npt.NDArray[np.float32]  # c x h x w
Mask = npt.NDArray[np.bool_]  # h x w

FLAT = 12.0  # grey levels by which even paper differs from itself, besides its grain
GRAIN = 2.5  # times the grain's standard deviation, added to it
KNOWN, KNOWN_EDGE = 0.8, 0.85  # share of a drawing, and of its edge, that is plainly paper or plainly ink
PAPER = 0.3  # share of a drawing that is paper, at least ...
PAPER_EDGE, MOSTLY_PAPER = 0.5, 0.6  # ... and of its edge; or else of the whole, when a frame is drawn along the edge
BEYOND = 0.0005  # share that may lie on the other side of the paper than the ink: a lit place is no ink
DARKEST = 0.25  # of the best light: what lies in a deeper shadow is not lifted further
SAMPLES = 32  # along the longer side: enough to know the light by
STROKE = 0.25  # of the shorter side: where the light is uneven no stroke is wider
NEIGHBOURHOOD = 0.125  # of the shorter side: what ink stands out from


@dataclass(frozen=True)
class Contrast:
    values: Plane  # grey levels: about 0 on paper, more on ink
    inverted: bool  # the ink is darker than the paper
    flattened: bool  # the light was uneven and has been taken out


def measure(planes: Planes) -> Contrast:
    """Drawings have one paper. Else the light is evened out; if that fails, paper is what lies around a place."""
    offset = _from_one_paper(planes)
    flattened = offset is None
    if offset is None:
        offset = _from_one_paper(_evenly_lit(planes))
    if offset is None:
        offset = _from_paper_around(planes)
    ink = direction(offset)
    return Contrast(along(offset, ink), bool(ink.sum() < 0), flattened)


def from_edge(planes: Planes) -> Contrast:
    """The paper is whatever is along the edge."""
    offset = planes - _median(edge(planes))
    ink = direction(offset)
    return Contrast(along(offset, ink), bool(ink.sum() < 0), False)


def direction(offset: Planes) -> npt.NDArray[np.float32]:
    """From paper to ink, a share for each plane. Ink is what lies farthest: red on green of the same grey, too."""
    flat = offset.reshape(len(offset), -1)
    total = (flat * (flat**2).sum(0)).sum(1)
    length = float(np.linalg.norm(total)) * len(offset) ** 0.5
    return np.asarray(total / max(length, 1e-9), np.float32)


def along(offset: Planes, ink: npt.NDArray[np.float32]) -> Plane:
    return np.asarray(np.tensordot(ink, offset, 1), np.float32)


def edge(planes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The outermost pixels, ... x n."""
    return np.concatenate([planes[..., 0, :], planes[..., -1, :], planes[..., 0], planes[..., -1]], -1)


def _from_one_paper(planes: Planes) -> Planes | None:
    """The offset from the paper's colour, if the picture is ink of one colour on paper of one colour."""
    for pixels in (edge(planes), planes[:, ::3, ::3].reshape(len(planes), -1)):
        offset = planes - _median(pixels)
        if _is_drawing(offset):
            return offset
    return None


def _is_drawing(offset: Planes) -> bool:
    distance = np.abs(offset).max(0)
    ink = offset.reshape(len(offset), -1)[:, distance.argmax()]
    slack = FLAT + GRAIN * _grain(offset)
    paper = distance <= slack
    known = paper | (np.abs(offset - ink[:, None, None]).max(0) <= 2 * slack)
    beyond = along(offset, ink) < -2 * slack * np.linalg.norm(ink)
    return (
        share(known) >= KNOWN
        and share(edge(known)) >= KNOWN_EDGE
        and share(paper) >= PAPER
        and (share(edge(paper)) >= PAPER_EDGE or share(paper) >= MOSTLY_PAPER)
        and share(beyond) < BEYOND
    )


def _grain(offset: Planes) -> float:
    """Standard deviation of the noise, from the differences of near pixels: strokes are few, and light is smooth."""
    differences = np.abs(offset[:, ::2, 2::2] - offset[:, ::2, :-2:2])
    return 1.05 * float(np.median(differences)) if differences.size else 0.0


def _evenly_lit(planes: Planes) -> Planes:
    """As bright everywhere as where the light is best. The light is a quadratic surface that ink does not bend."""
    height, width = planes.shape[1:]
    step = max(1, round(max(height, width) / SAMPLES))
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    terms = [np.broadcast_to(term, (height, width)) for term in (np.ones((1, 1)), x, y, x * y, x * x, y * y)]
    inner = tuple(slice(min(step, side) // 2, None, step) for side in (height, width))
    known, grey = np.stack([term[inner].ravel() for term in terms], 1), planes.mean(0)[inner].ravel()
    light = np.tensordot(_fit_most(known, grey), np.stack(terms), 1)
    light = light.clip(max(light.max() * DARKEST, 1), None)
    return np.asarray(planes * (light.max() / light), np.float32)


def _fit_most(known: npt.NDArray[np.float64], grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Least squares, done again with less weight for what is far off: few pixels are ink."""
    weight = np.ones(len(grey))
    for _ in range(5):
        weighted = known.T * weight
        factors = np.linalg.solve(weighted @ known + 1e-3 * np.eye(6), weighted @ grey)
        off = np.abs(grey - known @ factors)
        weight = np.asarray(1 / (1 + (off / max(2 * float(np.median(off)), 2.0)) ** 4))
    return np.asarray(factors, np.float64)


def _from_paper_around(planes: Planes) -> Planes:
    """The offset from what is left when all that is narrow is filled up: that keeps a shadow's edge in its place."""
    side = min(planes.shape[1:])
    smooth = average(planes, 1)
    darker = direction(smooth - average(smooth, max(2, round(side * NEIGHBOURHOOD)))) < 0
    sign = np.where(darker, 1, -1).astype(np.int16)[:, None, None]
    paper = _filled(smooth.round().astype(np.int16) * sign, max(3, round(side * STROKE))) * sign
    offset = planes - paper
    if darker.all():  # ink in the shade is as much darker than its paper as ink in the light, in proportion
        light = paper.mean(0).clip(paper.mean(0).max() * DARKEST, None)
        offset *= light.max() / light
    return np.asarray(offset - _median(offset[:, ::3, ::3].reshape(len(offset), -1)), np.float32)


def _filled(planes: npt.NDArray[np.int16], window: int) -> npt.NDArray[np.int16]:
    """Morphological closing: dark places narrower than the window become as their surroundings."""
    for pick in (np.maximum, np.minimum):
        for axis in (-1, -2):
            planes = slide(planes, window | 1, pick, axis)
    return planes


def _median(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of each plane's, c x 1 x 1."""
    return np.asarray(np.median(pixels, -1), np.float32)[:, None, None]


def share(mask: Mask) -> float:
    return np.count_nonzero(mask) / mask.size
