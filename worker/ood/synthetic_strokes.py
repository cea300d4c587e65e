"""Random signs in MNIST's form: straight and bent strokes of one pen, which meet here and there.

What people write and print of other scripts is made of the same, so that who tells these from digits tells letters too.
Chance comes from torch's own generator alone.
"""

import math

import torch
from torch import Tensor

from core.imaging.digits.mnist_format import CENTRE, DIGIT_BOX, DIGIT_SIDE

COUNTS = (0.1, 0.3, 0.3, 0.2, 0.1)  # how often there are one to five strokes
SHAPES = (0.5, 0.35, 0.1, 0.05)  # how often a stroke is straight, an arc, an S, a ring
STRAIGHT, ARC, S, RING = range(4)
FIRST_RING = 0.2  # how often the first stroke is a ring, besides
BEGINS_AT, ENDS_AT = 0.75, 0.2  # how often a stroke begins, and ends, at one that was there before
POINTS = 9  # of a stroke
SHORTEST = 0.3  # of the sheet
PEN = (1.4, 4.2)  # pixels: as core.imaging.digits.mnist_format leaves strokes
AT_ONCE = 500
FAR = 1e3


def glyphs(count: int) -> Tensor:
    """Float count x 28 x 28, 0 to 1."""
    return torch.cat([_drawn(*_strokes(some)) for some in _parts(count)])


def stroke(count: int) -> Tensor:
    """The same of a single stroke each."""
    return torch.cat([_drawn(points[:, :1], there[:, :1]) for points, there in map(_strokes, _parts(count))])


def uniform(low: float, high: float, *shape: int) -> Tensor:
    return torch.rand(*shape) * (high - low) + low


def _parts(count: int) -> list[int]:
    return [min(AT_ONCE, count - begin) for begin in range(0, count, AT_ONCE)]


def _strokes(count: int) -> tuple[Tensor, Tensor]:
    """Points, count x strokes x POINTS x 2, on a sheet of side 1, slanted and turned somewhat; and which strokes are
    there, count x strokes: the first always.
    """
    steps = torch.where(torch.rand(count, 1) < 0.5, 2.0, 3.0)  # between the anchors along a side
    curves: list[Tensor] = []
    known: list[Tensor] = []  # where another stroke may begin or end
    for number in range(len(COUNTS)):
        begin, end = _anchors(steps), _anchors(steps)
        if known:
            begin, end = _joined(begin, known, BEGINS_AT), _joined(end, known, ENDS_AT)
        curves.append(_curve(begin, end, FIRST_RING if number == 0 else 0.0))
        known += [curves[-1][:, 0], curves[-1][:, -1], curves[-1][:, POINTS // 2]]
    there = torch.arange(len(COUNTS)) <= torch.multinomial(torch.tensor(COUNTS), count, replacement=True)[:, None]
    x, y = torch.stack(curves, 1).unbind(-1)
    x = x * uniform(0.5, 1.15, count, 1, 1) + (y - 0.5) * torch.randn(count, 1, 1) * 0.2
    angle = torch.randn(count, 1, 1) * 0.1
    return torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], -1), there


def _anchors(steps: Tensor) -> Tensor:
    return (torch.rand(len(steps), 2) * (steps + 1)).floor() / steps + torch.randn(len(steps), 2) * 0.06


def _joined(points: Tensor, known: list[Tensor], share: float) -> Tensor:
    """Each with that chance one of those that are known for its sign."""
    count = len(points)
    chosen = torch.stack(known, 1)[torch.arange(count), torch.randint(len(known), (count,))]
    return torch.where(torch.rand(count, 1) < share, chosen, points)


def _curve(begin: Tensor, end: Tensor, rings: float) -> Tensor:
    """Count x POINTS x 2: cubic, or part of an ellipse."""
    count, along = len(begin), torch.linspace(0, 1, POINTS)[None, :, None]
    way = end - begin
    length = way.norm(dim=1, keepdim=True)
    way = torch.where(length > SHORTEST, way, way / length.clamp_min(1e-3) * 2 * SHORTEST)
    shape = torch.multinomial(torch.tensor(SHAPES), count, replacement=True)[:, None]
    bend = uniform(0.25, 1.1, count, 2) * torch.where(torch.rand(count, 1) < 0.5, 1.0, -1.0)
    bend = torch.where(shape == S, bend * torch.tensor([1.0, -1.0]), bend)
    bend = torch.where(shape == STRAIGHT, torch.randn(count, 2) * 0.04, bend)
    across = torch.stack([-way[:, 1], way[:, 0]], 1)
    first, second = (begin + way * at + across * by[:, None] for at, by in zip((0.2, 0.8), bend.unbind(1), strict=True))
    corners = torch.stack([begin, first, second, begin + way], 1)
    weights = torch.cat([(1 - along) ** 3, 3 * (1 - along) ** 2 * along, 3 * (1 - along) * along**2, along**3], 2)
    angle = 2 * math.pi * (along * uniform(0.75, 1.05, count, 1, 1) + torch.rand(count, 1, 1))
    ring = (begin + way / 2)[:, None] + torch.cat([angle.cos(), angle.sin()], 2) * uniform(0.2, 0.5, count, 1, 2)
    closed = (shape == RING) | (torch.rand(count, 1) < rings)
    return torch.where(closed[:, None], ring, weights @ corners)


def _drawn(points: Tensor, there: Tensor) -> Tensor:
    begins, ends = points[:, :, :-1].flatten(1, 2), points[:, :, 1:].flatten(1, 2)
    return draw(begins, ends, there.repeat_interleave(POINTS - 1, 1))


def draw(begins: Tensor, ends: Tensor, drawn: Tensor) -> Tensor:
    """Straight pieces, n x pieces x 2, of which those ``drawn``, n x pieces, are there -> n x 28 x 28.

    In the box of a digit, its mass in the middle; the edge of the ink is soft.
    """
    count, inside = len(begins), drawn[..., None]
    low = torch.minimum(begins, ends).where(inside, FAR).amin(1)
    high = torch.maximum(begins, ends).where(inside, -FAR).amax(1)
    pen = uniform(*PEN, count, 1)
    scale = ((DIGIT_BOX - pen) / (high - low).amax(1, keepdim=True).clamp_min(0.05))[:, None]
    begins, ends = begins * scale, ends * scale
    lengths = ((ends - begins).norm(dim=2) * drawn)[..., None]
    centre = ((begins + ends) / 2 * lengths).sum(1) / lengths.sum(1).clamp_min(1e-6)
    away = _squares(begins - centre[:, None], ends - begins, drawn).sqrt()
    return ((pen / 2 - away) / uniform(0.7, 1.6, count, 1) + 0.5).clamp(0, 1).view(count, DIGIT_SIDE, DIGIT_SIDE)


def _squares(begins: Tensor, ways: Tensor, drawn: Tensor) -> Tensor:
    """Count x pixels: the squared distance of each from the nearest of its sign's pieces, which are straight."""
    places = torch.arange(DIGIT_SIDE) - CENTRE
    pixels = torch.cartesian_prod(places, places).flip(1)
    nearest = torch.full((len(begins), len(pixels)), FAR)
    for begin, way, here in zip(begins.unbind(1), ways.unbind(1), drawn.unbind(1), strict=True):
        from_begin = pixels - begin[:, None]
        share = (from_begin @ way[..., None])[..., 0] / way.square().sum(1, keepdim=True).clamp_min(1e-6)
        square = (from_begin - share.clamp(0, 1)[..., None] * way[:, None]).square().sum(2)
        nearest = torch.minimum(nearest, square.where(here[:, None], FAR))
    return nearest
