"""Synthetic outliers: images in MNIST's form that show none of the classes.

They are made of random numbers, of the training images and, for digits, of the letters of one font. Randomness comes
from torch's default generator alone.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import fontpkg
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from core.imaging.digits.mnist_format import CENTRE, DIGIT_BOX
from core.imaging.digits.mnist_format import DIGIT_SIDE as SIDE

Make = Callable[[Tensor, Tensor], Tensor]  # images, and as many of other classes, n x 28 x 28 -> n x 28 x 28
INK = 0.15  # a pixel above it is no background
SHEET, POINTS = 48, 34  # pixels: side of the sheet a letter is drawn on, size of the font
STYLES = [[weight, width] for weight in (250.0, 400.0, 650.0) for width in (62.0, 100.0)]  # of the font
# letters that look like no digit, printed or handwritten; Greek and Cyrillic ones add shapes
LATIN = "ACDEFGHJKLMNPQRTUVWXYacdefhjkmnprtuvwxy"
OTHERS = "ΓΔΘΛΞΠΣΦΨΩαδεζηλμξπφψωБДЖИЛФЦЧШЩЭЮЯджфцшщюя"
LETTERS = LATIN * 3 + OTHERS
BEND = 0.09  # standard deviation of the displacement, of half the sheet
# random values down and across, between which a texture is smooth
CELLS = ((2, 2), (2, 4), (5, 2), (3, 3), (4, 4), (3, 7), (6, 6), (9, 9))


def outliers(images: Tensor, labels: Tensor, count: int, with_letters: bool) -> Tensor:
    """Make about ``count`` outliers from images of the same form.

    float n x 28 x 28, 0 to 1. ``with_letters``: no class is a letter.
    """
    kinds = KINDS if with_letters else {name: kind for name, kind in KINDS.items() if name != "letters"}
    total = sum(share for share, _ in kinds.values())
    made = []
    for share, make in kinds.values():
        rows, others = _pairs(labels, round(count * share / total))
        made.append(make(images[rows], images[others]))
    return torch.cat(made)


def drawn_digits(classes: Sequence[str], count: int) -> tuple[Tensor, Tensor]:
    """Draw digits in the letters' style; return images and class indices.

    So the style does not separate letters from digits.
    """
    labels = torch.randint(len(classes), (count,))
    style = torch.randint(len(STYLES), (count,))
    return _bent(_sheets("".join(classes))[labels, style]), labels


def formed(images: Tensor) -> Tensor:
    """Convert images to MNIST's form.

    n x side x side -> ink within a box of 20 pixels, its centre of mass in the middle.
    """
    side = images.shape[-1]
    places = torch.arange(side).float()
    reach, middle = [], []
    mass = images.sum((1, 2)).clamp_min(1e-3)
    for dim in (1, 2):
        ink = (images > INK).any(dim)
        first, last = places.where(ink, side).amin(1), places.where(ink, -1).amax(1)
        reach.append(last - first + 1)
        middle.append((images.sum(dim) @ places / mass * 2 + 1) / side - 1)
    scale = torch.maximum(*reach).clamp(4, side) / side * SIDE / DIGIT_BOX
    shift = scale * ((CENTRE * 2 + 1) / SIDE - 1)
    zero = torch.zeros_like(scale)
    affine = torch.stack([scale, zero, middle[0] - shift, zero, scale, middle[1] - shift], 1).view(-1, 2, 3)
    grid = functional.affine_grid(affine, [len(images), 1, SIDE, SIDE], align_corners=False)
    fitted = functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]
    return fitted / fitted.amax((1, 2), keepdim=True).clamp_min(INK)


def _pairs(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw rows of two images each, hardly ever of one class."""
    rows, others = torch.randint(len(labels), (2, count))
    for _ in range(3):
        others = torch.where(labels[rows] == labels[others], torch.randint(len(labels), (count,)), others)
    return rows, others


@cache
def _sheets(signs: str) -> Tensor:
    """Draw each sign in each style.

    signs x styles x SHEET x SHEET.
    """
    font = ImageFont.truetype(fontpkg.path("Noto Sans"), POINTS)
    sheets = np.zeros((len(signs), len(STYLES), SHEET, SHEET), np.float32)
    for number, style in enumerate(STYLES):
        font.set_variation_by_axes(style)
        for place, sign in enumerate(signs):
            sheet = Image.new("L", (SHEET, SHEET))
            ImageDraw.Draw(sheet).text((SHEET / 2, SHEET / 2), sign, 255, font, "mm")
            sheets[place, number] = np.asarray(sheet, np.float32) / 255
    return torch.from_numpy(sheets)


def _bent(sheets: Tensor) -> Tensor:
    """Slant, turn, stretch and bend signs like another hand would."""
    count = len(sheets)
    slant, turn = torch.randn(2, count) * torch.tensor([[0.25], [0.1]])
    wide = _uniform(0.9, 1.5, count)
    zero = torch.zeros(count)
    affine = torch.stack([wide, slant, zero, turn, torch.ones(count), zero], 1).view(-1, 2, 3)
    grid = functional.affine_grid(affine, [count, 1, SHEET, SHEET], align_corners=False)
    bend = functional.interpolate(torch.randn(count, 2, 4, 4) * BEND, (SHEET, SHEET), mode="bicubic")
    moved = functional.grid_sample(sheets[:, None], grid + bend.permute(0, 2, 3, 1), align_corners=False)
    return formed(moved[:, 0])


def _letters(images: Tensor, _: Tensor) -> Tensor:
    rows, style = torch.randint(len(LETTERS), (len(images),)), torch.randint(len(STYLES), (len(images),))
    return _bent(_sheets(LETTERS)[rows, style])


def _textures(images: Tensor, _: Tensor) -> Tensor:
    """Draw random blots with soft to sharp edges.

    Every second one is symmetric: like clothes, insects, noise seen as ink.
    """
    parts = torch.tensor_split(images, len(CELLS))
    values = torch.cat([_smooth(len(part), cells) for part, cells in zip(parts, CELLS, strict=True)])
    count = len(values)
    values = torch.where(torch.rand(count, 1, 1) < 0.5, (values + values.flip(2)) / 2, values)
    return formed((0.5 + (values - _uniform(0.4, 0.65, count, 1, 1)) * _uniform(2, 30, count, 1, 1)).clamp(0, 1))


def _smooth(count: int, cells: tuple[int, int]) -> Tensor:
    values = torch.rand(count, 1, *cells)
    values = functional.interpolate(values, size=(SIDE, SIDE), mode="bicubic", align_corners=False)[:, 0]
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    return (values - low) / (high - low).clamp_min(1e-3)


def _overlaid(images: Tensor, others: Tensor) -> Tensor:
    half = len(others) // 2
    return formed(torch.maximum(images, torch.cat([others[:half], others[half:].rot90(1, (1, 2))])))


def _turned(images: Tensor, _: Tensor) -> Tensor:
    """Turn images by a quarter, or mirror them.

    A few still show a class.
    """
    left, right, across, down = torch.tensor_split(images, 4)
    return formed(torch.cat([left.rot90(1, (1, 2)), right.rot90(3, (1, 2)), across.flip(2), down.flip(1)]))


def _uniform(low: float, high: float, *shape: int) -> Tensor:
    return torch.rand(*shape) * (high - low) + low


KINDS: Mapping[str, tuple[float, Make]] = {
    "letters": (0.59, _letters),
    "textures": (0.29, _textures),
    "overlaid": (0.05, _overlaid),
    "turned": (0.07, _turned),
}
