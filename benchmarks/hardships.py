"""Draw MNIST's digits as people send them.

They are drawn on a sheet and then lit, ruled, soiled or photographed, all by a seed.
"""

import io
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Chance = np.random.Generator
Plane = npt.NDArray[np.floating]  # h x w, 0..1
Sheet = npt.NDArray[np.floating]  # h x w x 3, grey levels
Digit = npt.NDArray[np.uint8]  # 28 x 28
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
PENS = ((20, 20, 25), (30, 40, 135), (140, 30, 40), (60, 60, 65))


def ink_of(digit: Digit, side: int) -> Plane:
    """Cut out a digit and enlarge it with smooth outlines.

    Its longer side becomes ``side`` pixels.
    """
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    cut = Image.fromarray(digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    scale = side / max(cut.size)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    large = cut.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(scale * 0.3))
    return ((np.asarray(large) / 255 - 0.42) * max(1.0, 0.7 * scale) + 0.5).clip(0, 1)


def laid(chance: Chance, digit: Digit, fill: float | None = None, side: int | None = None) -> Plane:
    """Lay a digit somewhere on a sheet.

    It takes ``fill`` of the sheet's height.
    """
    ink = ink_of(digit, side or int(chance.uniform(100, 300)))
    height = int(max(ink.shape) / (fill or chance.uniform(0.3, 0.8)))
    sheet = np.zeros((height, int(height * chance.uniform(1, 1.4))))
    row, column = (int(chance.uniform(0, room)) for room in np.subtract(sheet.shape, ink.shape) + 1)
    sheet[row : row + ink.shape[0], column : column + ink.shape[1]] = ink
    return sheet


def painted(ink: Plane, pen: npt.ArrayLike, paper: npt.ArrayLike) -> Sheet:
    return ink[..., None] * np.asarray(pen) + (1 - ink[..., None]) * np.asarray(paper)


def written(chance: Chance, ink: Plane, under: Plane | None = None) -> Sheet:
    """Write with a pen on paper that may have lines itself."""
    paper: Sheet | npt.NDArray[np.floating] = chance.uniform(190, 250) + chance.normal(0, 6, 3)
    if under is not None:
        paper = painted(under, paper - chance.uniform(30, 70), paper)
    return painted(ink, PENS[chance.integers(len(PENS))], paper)


def slope(chance: Chance, shape: tuple[int, ...]) -> Plane:
    """Make a slope from 0 to 1 across the sheet.

    It runs from one end to the other, in any direction.
    """
    angle, (y, x) = chance.uniform(0, 2 * np.pi), np.mgrid[0 : shape[0], 0 : shape[1]]
    values = np.cos(angle) * x / shape[1] + np.sin(angle) * y / shape[0]
    return np.asarray((values - values.min()) / np.ptp(values))


def lines(chance: Chance, shape: tuple[int, ...], squared: bool) -> Plane:
    """Draw slightly tilted lines, as thick as printed ones."""
    step, tilt = min(shape) * chance.uniform(0.12, 0.4), chance.uniform(-0.06, 0.06)
    width, (y, x) = max(1.0, min(shape) * chance.uniform(0.003, 0.008)), np.mgrid[0 : shape[0], 0 : shape[1]]
    away = [np.abs((place + chance.uniform(0, step)) % step - step / 2) for place in (y + tilt * x, x - tilt * y)]
    return (width / 2 + 0.5 - (np.minimum(*away) if squared else away[0])).clip(0, 1)


def file_of(sheet: Sheet, quality: int | None = None) -> bytes:
    """Encode a sheet as PNG, or as JPEG of that quality."""
    file = io.BytesIO()
    image = Image.fromarray((sheet + 0.5).clip(0, 255).astype(np.uint8))
    image.save(file, "JPEG" if quality else "PNG", **({"quality": quality} if quality else {}))
    return file.getvalue()


def _white_on_black(chance: Chance, digit: Digit) -> bytes:
    return file_of(painted(laid(chance, digit), WHITE, BLACK))


def _black_on_white(chance: Chance, digit: Digit) -> bytes:
    return file_of(painted(laid(chance, digit), BLACK, WHITE))


def _equal_grey(chance: Chance, digit: Digit) -> bytes:
    return file_of(painted(laid(chance, digit), (200, 40, 40), (40, 120, 50)))


def _fat(chance: Chance, digit: Digit) -> bytes:
    ink = laid(chance, digit, fill=0.5)
    wide = Image.fromarray((ink * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(1 + 2 * (len(ink) // 40)))
    return file_of(painted(np.asarray(wide) / 255, BLACK, WHITE))


def _uneven_light(chance: Chance, digit: Digit) -> bytes:
    ink = laid(chance, digit)
    return file_of(written(chance, ink) * (1 - 0.65 * slope(chance, ink.shape))[..., None])


def _shadow(chance: Chance, digit: Digit) -> bytes:
    ink = laid(chance, digit)
    edge = ((slope(chance, ink.shape) - chance.uniform(0.3, 0.7)) / chance.choice([0.005, 0.05])).clip(-20, 20)
    light = 1 - chance.uniform(0.25, 0.55) / (1 + np.exp(-edge))
    return file_of(written(chance, ink) * light[..., None])


def _noise(chance: Chance, digit: Digit) -> bytes:
    sheet = written(chance, laid(chance, digit))
    return file_of(sheet + chance.normal(0, chance.uniform(8, 20), sheet.shape))


def _poor_jpeg(chance: Chance, digit: Digit) -> bytes:
    return file_of(written(chance, laid(chance, digit)), quality=int(chance.integers(10, 40)))


def _squared(chance: Chance, digit: Digit) -> bytes:
    ink = laid(chance, digit)
    return file_of(written(chance, ink, lines(chance, ink.shape, squared=True)), quality=80)


def _squared_in_ink(chance: Chance, digit: Digit) -> bytes:
    ink = laid(chance, digit)
    return file_of(written(chance, np.maximum(ink, lines(chance, ink.shape, squared=True))), quality=80)


def _ruled(chance: Chance, digit: Digit) -> bytes:
    ink = laid(chance, digit)
    return file_of(written(chance, ink, lines(chance, ink.shape, squared=False)), quality=80)


def _frame(chance: Chance, digit: Digit) -> bytes:
    ink = np.pad(laid(chance, digit), 20)
    ink[[4, 5, -5, -6], 4:-4] = ink[4:-4, [4, 5, -5, -6]] = 1
    return file_of(painted(ink, BLACK, WHITE))


def _dirt(chance: Chance, digit: Digit) -> bytes:
    ink = laid(chance, digit)
    for row, column in chance.integers(0, min(ink.shape) - 4, (8, 2)):
        ink[row : row + 4, column : column + 4] = 1
    return file_of(written(chance, ink))


def _small_on_large(chance: Chance, digit: Digit) -> bytes:
    return file_of(written(chance, laid(chance, digit, fill=chance.uniform(0.07, 0.15), side=90)), quality=85)


def _tiny(chance: Chance, digit: Digit) -> bytes:
    return file_of(painted(laid(chance, digit, side=int(chance.integers(16, 40))), BLACK, WHITE))


def _chalk(chance: Chance, digit: Digit) -> bytes:
    ink = laid(chance, digit)
    sheet = painted(ink * chance.uniform(0.7, 1, ink.shape), (225, 225, 215), chance.uniform(25, 70, 3))
    return file_of(sheet * (1 - 0.5 * slope(chance, ink.shape))[..., None], quality=85)


def _photo(chance: Chance, digit: Digit) -> bytes:
    """Photograph a digit on squared paper.

    The light is uneven, and the photo has noise and is out of focus.
    """
    ink = laid(chance, digit)
    sheet = (
        written(chance, ink, lines(chance, ink.shape, squared=True)) * (1 - 0.5 * slope(chance, ink.shape))[..., None]
    )
    soft = Image.open(io.BytesIO(file_of(sheet))).filter(ImageFilter.GaussianBlur(1))
    return file_of(np.asarray(soft) + chance.normal(0, 5, sheet.shape), quality=60)


Hardship = Callable[[Chance, Digit], bytes]
HARDSHIPS: Mapping[str, Hardship] = {
    "white on black": _white_on_black,
    "black on white": _black_on_white,
    "colours of equal grey": _equal_grey,
    "fat strokes": _fat,
    "uneven light": _uneven_light,
    "shadow": _shadow,
    "noise": _noise,
    "poor JPEG": _poor_jpeg,
    "squared paper": _squared,
    "squares of the ink's strength": _squared_in_ink,
    "ruled paper": _ruled,
    "frame": _frame,
    "dirt": _dirt,
    "small on a large sheet": _small_on_large,
    "tiny": _tiny,
    "chalk": _chalk,
    "photo": _photo,
}
