"""Images in MNIST's form that show none of the classes: made of chance, and of the training images themselves.

No picture of anything is needed, and none is used; letters are drawn. Chance comes from torch's own generator alone.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from core.imaging.digits.mnist_format import CENTRE, DIGIT_BOX
from core.imaging.digits.mnist_format import DIGIT_SIDE as SIDE
from worker.ood.synthetic_letters import letters
from worker.ood.synthetic_strokes import glyphs, stroke, uniform

Make = Callable[[Tensor, Tensor], Tensor]  # some images, and others of other classes: n x 28 x 28 each, to as many
INK = 0.15  # from here on a pixel is no paper
CLOUDS = (2, 3, 4, 5, 7, 9, 12)  # grey values along a side, between which it is smooth
LETTERS = 0.4  # their share, where they are none of the classes
ROOM = 1.4  # from the middle of a shape's sheet to its edge; the shape is about 1


def outliers(images: Tensor, labels: Tensor, count: int, with_letters: bool = False) -> Tensor:
    """Float n x 28 x 28, as ``images``, 0 to 1; about ``count``, in no order. ``with_letters``: no class is one."""
    made = [letters(round(LETTERS * count))] if with_letters else []
    others = count - sum(map(len, made))
    for share, make in KINDS.values():
        number = round(share * others)
        rows, beside = _pairs(labels, number)
        made.append(make(images[rows], images[beside]))
    return torch.cat(made)


def _pairs(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Rows of two images each; hardly ever of the same class."""
    rows, others = torch.randint(len(labels), (2, count))
    for _ in range(3):
        others = torch.where(labels[rows] == labels[others], torch.randint(len(labels), (count,)), others)
    return rows, others


def formed(images: Tensor) -> Tensor:
    """As core.imaging.digits.mnist_format does it: the ink in a box and bright, its mass in the middle."""
    (top, bottom), (left, right) = (_reach((images > INK).any(dim)) for dim in (2, 1))
    scale = (torch.maximum(bottom - top, right - left).clamp(4, SIDE) + 1) / DIGIT_BOX
    fitted = _sampled(images, scale, (left + right + 1) / SIDE - 1, (top + bottom + 1) / SIDE - 1)
    return _centred(fitted / fitted.amax((1, 2), keepdim=True).clamp_min(INK))


def _reach(ink: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last place, n x places, at which there is some."""
    places = torch.arange(SIDE).float()
    return places.where(ink, SIDE).amin(1), places.where(ink, -1).amax(1)


def _centred(images: Tensor) -> Tensor:
    places, mass = torch.arange(SIDE) - CENTRE, images.sum((1, 2)).clamp_min(1e-3)
    x, y = ((images.sum(dim) @ places / mass).round().clamp(-8, 8) for dim in (1, 2))
    return _sampled(images, torch.ones(len(images)), x * 2 / SIDE, y * 2 / SIDE)


def _sampled(images: Tensor, scale: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """A window ``scale`` times as large, about the place x, y, in -1..1 from edge to edge; beyond the edge is paper."""
    zero = torch.zeros_like(scale)
    affine = torch.stack([scale, zero, x, zero, scale, y], 1).view(-1, 2, 3)
    grid = functional.affine_grid(affine, [len(images), 1, SIDE, SIDE], align_corners=False)
    return functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def _glyphs(images: Tensor, _: Tensor) -> Tensor:
    return glyphs(len(images))


def _silhouettes(images: Tensor, _: Tensor) -> Tensor:
    """Up to four boxes and ellipses in one, filled or in outline, many the same on both sides; some not formed."""
    count = len(images)
    places = torch.linspace(-ROOM, ROOM, SIDE)
    x, y = (axis + uniform(-0.1, 0.1, count, 1, 1) for axis in (places[None, None, :], places[None, :, None]))
    x = torch.where(torch.rand(count, 1, 1) < 0.5, x.abs(), x)
    angle = torch.randn(count, 1, 1) * 0.15
    x, y = x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()
    depth = _shape(x, y)  # below the edge
    for share in (0.8, 0.5, 0.3):
        depth = torch.where(torch.rand(count, 1, 1) < share, torch.maximum(depth, _shape(x, y)), depth)
    outlines = 1 - (depth.abs() * 10 - uniform(0.3, 1.2, count, 1, 1)).clamp(0, 1)
    waves = (y * uniform(2, 20, count, 1, 1) + x * torch.randn(count, 1, 1) * 5).sin() > 0
    darker = torch.where(torch.rand(count, 1, 1) < 0.7, _smooth(count, 6), waves.float())
    filled = (depth * 10 + 0.5).clamp(0, 1) * (1 - torch.rand(count, 1, 1) * darker)
    shapes = torch.where(torch.rand(count, 1, 1) < 0.75, filled, outlines) * uniform(0.4, 1, count, 1, 1).sqrt()
    return torch.where(torch.rand(count, 1, 1) < 0.8, formed(shapes), shapes)


def _shape(x: Tensor, y: Tensor) -> Tensor:
    """How far within its edge each place lies; below 0 outside."""
    count = len(x)
    wide, high = uniform(0.15, 0.9, count, 1, 1), uniform(0.15, 1, count, 1, 1)
    y = y - uniform(-0.8, 0.8, count, 1, 1)
    x = x - uniform(-0.8, 0.8, count, 1, 1) + torch.randn(count, 1, 1) * 0.3 * y
    x, y = (x / wide).abs(), (y / high).abs()
    away = torch.where(torch.rand(count, 1, 1) < 0.6, torch.maximum(x, y), (x.square() + y.square()).sqrt())
    return (1 - away) * torch.minimum(wide, high)


def _clouds(images: Tensor, _: Tensor) -> Tensor:
    """Smooth, or with an edge; half of them formed."""
    count = len(images)
    clouds = torch.cat(
        [_smooth(len(some), size) for some, size in zip(_shares(images, len(CLOUDS)), CLOUDS, strict=True)]
    )
    sharp = 0.5 + (clouds - uniform(0.3, 0.8, count, 1, 1)) * uniform(1, 10, count, 1, 1)
    clouds = torch.where(torch.rand(count, 1, 1) < 0.5, sharp.clamp(0, 1), clouds)
    return torch.where(torch.rand(count, 1, 1) < 0.5, formed(clouds), clouds)


def _smooth(count: int, size: int) -> Tensor:
    values = torch.rand(count, 1, size, size)
    values = functional.interpolate(values, size=(SIDE, SIDE), mode="bicubic", align_corners=False)[:, 0]
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    return (values - low) / (high - low).clamp_min(1e-3)


def _halves(images: Tensor, others: Tensor) -> Tensor:
    """Cut upright, level or at a slant, near the middle."""
    count, places = len(images), torch.arange(SIDE) - (SIDE - 1) / 2
    quarter = torch.randint(4, (count, 1, 1)) * (math.pi / 2)
    angle = torch.where(torch.rand(count, 1, 1) < 0.6, quarter, uniform(0, 2 * math.pi, count, 1, 1))
    side = angle.cos() * places + angle.sin() * places[:, None] > uniform(-4, 4, count, 1, 1)
    return formed(torch.where(side, images, others))


def _overlaid(images: Tensor, others: Tensor) -> Tensor:
    half = len(others) // 2
    return formed(torch.maximum(images, torch.cat([others[:half], others[half:].rot90(1, (1, 2))])))


def _with_a_stroke(images: Tensor, _: Tensor) -> Tensor:
    return formed(torch.maximum(images, stroke(len(images))))


def _jigsaws(images: Tensor, _: Tensor) -> Tensor:
    """In 4 or 16 pieces."""
    return formed(torch.cat([_jigsaw(some, cut) for some, cut in zip(_shares(images, 3), (2, 2, 4), strict=True)]))


def _jigsaw(images: Tensor, cut: int) -> Tensor:
    count, side = len(images), SIDE // cut
    pieces = images.view(count, cut, side, cut, side).transpose(2, 3).reshape(count, cut * cut, side, side)
    pieces = pieces[torch.arange(count)[:, None], torch.rand(count, cut * cut).argsort(1)]
    return pieces.view(count, cut, cut, side, side).transpose(2, 3).reshape(count, SIDE, SIDE)


def _turned(images: Tensor, _: Tensor) -> Tensor:
    """By a quarter, or mirrored. Some show a class all the same: few beside the images that show it rightly."""
    left, right, across, down = _shares(images, 4)
    return formed(torch.cat([left.rot90(1, (1, 2)), right.rot90(3, (1, 2)), across.flip(2), down.flip(1)]))


def _noise(images: Tensor, _: Tensor) -> Tensor:
    """Even, or of black and white dots."""
    noise = torch.rand(len(images), SIDE, SIDE)
    half = len(noise) // 2
    return torch.cat([noise[:half], (noise[half:] < uniform(0.02, 0.5, len(noise) - half, 1, 1)).float()])


def _negatives(images: Tensor, _: Tensor) -> Tensor:
    return 1 - images


def _shares(images: Tensor, count: int) -> tuple[Tensor, ...]:
    return torch.tensor_split(images, count)


KINDS: Mapping[str, tuple[float, Make]] = {
    "glyphs": (0.45, _glyphs),
    "silhouettes": (0.14, _silhouettes),
    "clouds": (0.08, _clouds),
    "halves": (0.1, _halves),
    "overlaid": (0.04, _overlaid),
    "with a stroke": (0.05, _with_a_stroke),
    "jigsaws": (0.05, _jigsaws),
    "turned": (0.06, _turned),
    "noise": (0.015, _noise),
    "negatives": (0.015, _negatives),
}
