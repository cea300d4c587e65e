"""Letters and digits in MNIST's form, as a hand might write them: the strokes of Hershey's fonts, bent, by one pen.

The digits show the detector that the pen is not what makes a letter. Chance comes from torch's own generator alone.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise

import torch
from HersheyFonts import HersheyFonts
from torch import Tensor

from worker.ood.synthetic_strokes import AT_ONCE, draw, uniform

# Left out are letters that look like a digit where they are printed, and more where hands write them like one.
PRINTED = "ABCDEFGHJKLMNPQRTUVWXYZabcdefhijkmnprtuvwxyz"
SCRIPT = "ACDEFGHKLMNPRTUVWXYacdefhijkmnprtuvwxy"
LETTERS: Mapping[str, str] = {  # by font
    **dict.fromkeys(("futural", "futuram", "rowmans", "rowmand", "timesr", "timesi"), PRINTED),
    **dict.fromkeys(("cursive", "scripts", "scriptc"), SCRIPT),
}
PIECES = 64  # straight ones, of a sign
MOVED = 0.025  # a stroke, of the sign's longer side: a standard deviation
WAVES, WAVE, LONGEST = 3, 0.04, 4.0  # that bend the sheet: how many, how high, and how many radians to a side

Point = tuple[float, float]
Line = tuple[int, Point, Point]  # the number of its stroke, begin, end


def letters(count: int) -> Tensor:
    """Float count x 28 x 28, 0 to 1; of those that look like no digit."""
    lines, strokes = _known(tuple(LETTERS.items()))
    return _drawn(lines, strokes, torch.randint(len(lines), (count,)))


def digits(signs: Sequence[str], count: int) -> tuple[Tensor, Tensor]:
    """The same of these signs, and the place of each among them."""
    lines, strokes = _known(tuple((font, "".join(signs)) for font in LETTERS))
    rows = torch.randint(len(lines), (count,))
    return _drawn(lines, strokes, rows), rows % len(signs)


def _drawn(lines: Tensor, strokes: Tensor, rows: Tensor) -> Tensor:
    there = torch.ones(AT_ONCE, PIECES, dtype=torch.bool)
    made = []
    for some in torch.split(rows, AT_ONCE):
        begins, ends = _written(lines[some], strokes[some]).unbind(2)
        made.append(draw(begins, ends, there[: len(some)]))
    return torch.cat(made)


def _written(lines: Tensor, strokes: Tensor) -> Tensor:
    """Slanted, turned, stretched and bent, each stroke somewhat out of its place. The same shape as ``lines``."""
    count = len(lines)
    moved = torch.randn(count, PIECES, 2) * MOVED
    lines = lines + moved.gather(1, strokes[..., None].expand(-1, -1, 2))[:, :, None]
    for _ in range(WAVES):
        along = torch.randn(count, 1, 2, 1) * LONGEST
        phase = (lines @ along)[..., 0] + uniform(0, 2 * math.pi, count, 1, 1)
        lines = lines + phase.sin()[..., None] * torch.randn(count, 1, 1, 2) * WAVE
    x, y = lines.unbind(-1)
    x = x * uniform(0.65, 1.25, count, 1, 1) + y * torch.randn(count, 1, 1) * 0.2
    angle = torch.randn(count, 1, 1) * 0.1
    return torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], -1)


@cache
def _known(signs: tuple[tuple[str, str], ...]) -> tuple[Tensor, Tensor]:
    """``signs``: of a font each. Their lines, n x PIECES x 2 ends x 2, of size 1 and about the middle, and the strokes
    that these are of, n x PIECES.
    """
    cut = []
    for font, wanted in signs:
        drawer = HersheyFonts(load_default_font=font)
        cut += [_cut([[*stroke] for stroke in drawer.strokes_for_text(sign)]) for sign in wanted]
    lines = torch.tensor([[ends for _, *ends in pieces] for pieces in cut])
    low, high = lines.amin((1, 2), keepdim=True), lines.amax((1, 2), keepdim=True)
    lines = (lines - (low + high) / 2) / (high - low).amax(-1, keepdim=True)
    return lines, torch.tensor([[stroke for stroke, *_ in pieces] for pieces in cut])


def _cut(strokes: Sequence[Sequence[Point]]) -> list[Line]:
    """In PIECES, the longest lines first."""
    lines = [(number, begin, end) for number, stroke in enumerate(strokes) for begin, end in pairwise(stroke)]
    while len(lines) < PIECES:
        longest = max(range(len(lines)), key=lambda place: math.dist(*lines[place][1:]))
        number, begin, end = lines[longest]
        middle = ((begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2)
        lines[longest : longest + 1] = [(number, begin, middle), (number, middle, end)]
    return lines
