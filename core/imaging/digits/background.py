"""The paper of a drawing or a photo, and how far each pixel is from it toward the ink.

Planes are floats in grey levels, c x h x w: one for a grey picture, three for a coloured one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.imaging.digits.sliding_window import average, slide

Plane = npt.NDArray[np.float32]  # h x w
Planes = npt.NDArray[np.float32]  # c x h x w
Pixels = npt.NDArray[np.float32]  # c x n
Mask = npt.NDArray[np.bool_]  # h x w, or of n pixels

WHITE = 255.0  # the negative of a photo is lit as the photo is
FLAT = 12.0  # grey levels by which even paper differs from itself, besides its grain
GRAIN = 2.5  # times the grain's standard deviation, added to it
KNOWN, KNOWN_EDGE = 0.8, 0.85  # share of a drawing, and of its edge, that is plainly paper or plainly ink
PAPER = 0.3  # share of a drawing that is paper, at least ...
PAPER_EDGE, MOSTLY_PAPER = 0.5, 0.6  # ... and of its edge; or else of the whole, when a frame is drawn along the edge
BEYOND = 0.0005  # share that may lie on the other side of the paper than the ink: a lit place is no ink
DARKEST = 0.25  # of the best light: what lies in a deeper shadow is not lifted further
SAMPLES = 32  # along the longer side: enough to know the light by ...
AROUND = 64  # ... which side of its surroundings the ink lies on ...
LOOKED_AT = 96  # ... and the paper
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
        offset = _from_lit_paper(planes)
    if offset is None:
        offset = _from_paper_around(planes)
    return _toward_ink(offset, flattened)


def from_edge(planes: Planes) -> Contrast:
    """The paper is whatever is along the edge."""
    return _toward_ink(planes - median(edge(planes))[:, None, None], flattened=False)


def _toward_ink(offset: Planes, flattened: bool) -> Contrast:
    ink = _direction(offset)
    return Contrast(_along(offset, ink), bool(ink.sum() < 0), flattened)


def _direction(offset: Planes) -> npt.NDArray[np.float32]:
    """From paper to ink, a share for each plane. Ink is what lies farthest: red on green of the same grey, too."""
    total = np.einsum("cyx,yx->c", offset, np.einsum("cyx,cyx->yx", offset, offset))
    length = float(np.linalg.norm(total)) * len(offset) ** 0.5
    return np.asarray(total / max(length, 1e-9), np.float32)


def _along(offset: Planes | Pixels, ink: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """By einsum: of the products, it is large, and BLAS would spread it over threads that then spin beside others'."""
    return np.asarray(np.einsum("c,c...->...", ink, offset))


def edge(planes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The outermost pixels, ... x n."""
    return np.concatenate([planes[..., 0, :], planes[..., -1, :], planes[..., 0], planes[..., -1]], -1)


def _from_one_paper(planes: Planes) -> Planes | None:
    """The offset from the paper's colour, if the picture is ink of one colour on paper of one colour."""
    step = _step(planes, LOOKED_AT)
    inner, border = planes[:, ::step, ::step].reshape(len(planes), -1), edge(planes)
    slack = FLAT + GRAIN * _grain(planes)
    for pixels in (border, inner):
        paper = median(pixels)
        if _is_drawing(inner - paper[:, None], border - paper[:, None], slack):
            return np.asarray(planes - paper[..., None, None])
    return None


def _from_lit_paper(planes: Planes) -> Planes | None:
    """The same, once the light is evened out: first of the picture where ink is darker, else of its negative."""
    darker = bool(_ink_is_darker(planes).all())
    for positive in (darker, not darker):
        offset = _from_one_paper(_evenly_lit(planes if positive else WHITE - planes))
        if offset is not None:
            return offset if positive else -offset
    return None


def _is_drawing(inner: Pixels, border: Pixels, slack: float) -> bool:
    """By the offsets from its paper, of pixels from everywhere and of those on the edge."""
    ink = inner[:, np.abs(inner).max(0).argmax()]
    (paper, known), (paper_edge, known_edge) = (_known(pixels, ink, slack) for pixels in (inner, border))
    return (
        share(known) >= KNOWN
        and share(known_edge) >= KNOWN_EDGE
        and share(paper) >= PAPER
        and (share(paper_edge) >= PAPER_EDGE or share(paper) >= MOSTLY_PAPER)
        and share(_along(inner, ink) < -2 * slack * np.linalg.norm(ink)) < BEYOND
    )


def _known(offset: Pixels, ink: Pixels, slack: float) -> tuple[Mask, Mask]:
    """What is plainly paper, and what is plainly paper or ink."""
    paper = np.abs(offset).max(0) <= slack
    return paper, paper | (np.abs(offset - ink[:, None]).max(0) <= 2 * slack)


def _grain(planes: Planes) -> float:
    """Standard deviation of the noise, from the differences of near pixels: strokes are few, and light is smooth."""
    differences = np.abs(planes[:, ::4, 2::2] - planes[:, ::4, :-2:2])
    return 1.05 * float(median(differences.ravel())) if differences.size else 0.0


def _evenly_lit(planes: Planes) -> Planes:
    """As bright everywhere as where the light is best. The light is a quadratic surface that ink does not bend."""
    height, width = planes.shape[1:]
    step = _step(planes, SAMPLES)
    rows, columns = (slice(min(step, side) // 2, None, step) for side in (height, width))
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)[None]
    factors = _fit_most(_terms(y[rows], x[:, columns]), planes[:, rows, columns].mean(0))
    light = sum(factor * term for factor, term in zip(factors, _terms(y, x), strict=True))
    light = light.clip(max(light.max() * DARKEST, 1), None)
    return np.asarray(planes * (light.max() / light), np.float32)


def _terms(y: Plane, x: Plane) -> list[Plane]:
    """Of a quadratic surface, each as small as it can be."""
    return [np.ones((1, 1), np.float32), x, x * x, y, y * y, x * y]


def _fit_most(terms: list[Plane], grey: Plane) -> npt.NDArray[np.float32]:
    """Least squares, done again with less weight for what is far off: few pixels are ink."""
    known, wanted = np.stack(np.broadcast_arrays(*terms)).reshape(len(terms), -1), grey.ravel()
    weight, ridge = np.ones_like(wanted), 1e-3 * np.eye(len(terms), dtype=np.float32)
    for _ in range(5):
        weighted = known * weight
        factors = np.linalg.solve(weighted @ known.T + ridge, weighted @ wanted)
        off = np.abs(wanted - factors @ known)
        weight = 1 / (1 + np.square(np.square(off / max(2 * float(median(off)), 2.0))))
    return factors


def _from_paper_around(planes: Planes) -> Planes:
    """The offset from what is left when all that is narrow is filled up: that keeps a shadow's edge in its place."""
    smooth = average(planes, 1)
    darker = _ink_is_darker(smooth)
    sign = np.where(darker, 1, -1).astype(np.int16)[:, None, None]
    paper = _filled(smooth.round().astype(np.int16) * sign, max(3, round(min(planes.shape[1:]) * STROKE))) * sign
    offset = planes - paper
    if darker.all() or not darker.any():  # in the shade ink differs from its paper as in the light, in proportion
        light = (paper if darker.all() else WHITE - paper).mean(0, dtype=np.float32)
        offset *= light.max() / light.clip(light.max() * DARKEST, None)
    return offset - median(offset[:, ::3, ::3].reshape(len(offset), -1))[:, None, None]


def _ink_is_darker(smooth: Planes) -> Mask:
    """In each plane, than what is around it."""
    step = _step(smooth, AROUND)
    some = smooth[:, ::step, ::step]
    return _direction(some - average(some, max(2, round(min(some.shape[1:]) * NEIGHBOURHOOD)))) < 0


def _step(planes: Planes, samples: int) -> int:
    """From one pixel to the next when that many of the longer side are enough."""
    longer: int = max(planes.shape[1:])
    return max(1, round(longer / samples))


def _filled(planes: npt.NDArray[np.int16], window: int) -> npt.NDArray[np.int16]:
    """Morphological closing: dark places narrower than the window become as their surroundings."""
    for pick in (np.maximum, np.minimum):
        for axis in (-1, -2):
            planes = slide(planes, window | 1, pick, axis)
    return planes


def median(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of the last axis; the upper one of two. In a fifth of numpy's time."""
    middle = values.shape[-1] // 2
    return np.asarray(np.partition(values, middle)[..., middle])


def share(mask: Mask) -> float:
    return np.count_nonzero(mask) / mask.size
