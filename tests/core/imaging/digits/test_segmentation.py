"""core.imaging.digits.segmentation: any sheet's digit becomes that on plain paper."""

import io
import json
from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFilter

from core.imaging.preparation import Pixels, Prepared, preprocess_digit
from tests.conftest import DIGIT_FILES
from tests.support.sheets import (
    BLACK,
    BLUE,
    CREAM,
    HEIGHT,
    WHITE,
    WIDTH,
    as_pixels,
    covered,
    grain,
    lines,
    painted,
    ramp,
    shadow,
)

DIGITS = range(len(DIGIT_FILES))
Sheet = Callable[[npt.NDArray[np.float64]], Pixels]  # what becomes of a digit's ink


def likeness(one: Pixels, other: Pixels) -> float:
    """Correlation of two canonical images, up to 1."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def plain(digit: int) -> Pixels:
    return preprocess_digit(painted(covered(digit))).pixels


def likenesses(sheets: list[Pixels]) -> npt.NDArray[np.float64]:
    """Compare each sheet's result (rows) with each plain digit (columns)."""
    found, wanted = [preprocess_digit(sheet).pixels for sheet in sheets], [plain(digit) for digit in DIGITS]
    return np.array([[likeness(one, other) for other in wanted] for one in found])


def on_lines(ink: npt.NDArray[np.float64], step: int, strength: float, squared: bool = True) -> Pixels:
    """Paper with lines of that share of the ink's contrast, under it."""
    return painted(np.maximum(ink, strength * lines(step, squared)), BLUE, CREAM)


def framed(ink: npt.NDArray[np.float64]) -> Pixels:
    frame = np.ones_like(ink)
    frame[4:-4, 4:-4] = 0
    frame[:2] = frame[-2:] = frame[:, :2] = frame[:, -2:] = 0
    return painted(np.maximum(ink, frame))


def dirty(ink: npt.NDArray[np.float64]) -> Pixels:
    dirt = ink.copy()
    for row, column in ((10, 20), (30, 250), (150, 40), (220, 150), (200, 280)):
        dirt[row : row + 4, column : column + 4] = 1
    return painted(dirt)


def beside_the_table(ink: npt.NDArray[np.float64]) -> Pixels:
    sheet = painted(ink, BLUE, CREAM)
    sheet[:, :30] = (70, 50, 40)
    return sheet


HARDSHIPS: dict[str, Sheet] = {
    "light ink on dark": lambda ink: painted(ink, WHITE, BLACK),
    "red ink on green of the same grey": lambda ink: painted(ink, (200, 40, 40), (40, 120, 50)),
    "yellow ink on white": lambda ink: painted(ink, (250, 245, 90), WHITE),
    "pale ink": lambda ink: painted(ink, (150, 150, 150), (200, 200, 200)),
    "light from one side": lambda ink: painted(ink, BLUE, CREAM, ramp(0.35)),
    "a hard shadow across it": lambda ink: painted(ink, BLUE, CREAM, shadow(0.6)),
    "chalk on a board, lit from one side": lambda ink: painted(ink, (220, 220, 210), (50, 60, 55), ramp(0.6)),
    "noise": lambda ink: grain(15)(painted(ink, BLUE, CREAM)),
    "squared paper": lambda ink: on_lines(ink, 34, 0.3),
    "squared paper of the ink's own strength": lambda ink: on_lines(ink, 60, 1.0),
    "ruled paper": lambda ink: on_lines(ink, 34, 0.3, squared=False),
    "squared paper, shadow and noise": lambda ink: grain(4)(
        painted(np.maximum(ink, 0.3 * lines(34)), BLUE, CREAM, shadow(0.7))
    ),
    "a frame": framed,
    "dirt": dirty,
    "a table beside the sheet": beside_the_table,
}


@pytest.mark.parametrize("hardship", HARDSHIPS)
def test_a_digit_is_the_same_under(hardship: str) -> None:
    alike = likenesses([HARDSHIPS[hardship](covered(digit)) for digit in DIGITS])
    assert alike.argmax(1).tolist() == list(DIGITS)
    assert alike.diagonal().min() > 0.8
    assert alike.diagonal().mean() > 0.93


@pytest.mark.parametrize("place", [(0, 0), (5, 185), (125, 3), (70, 90)])
def test_where_on_the_sheet_it_stands_hardly_matters(place: tuple[int, int]) -> None:
    assert likenesses([painted(covered(digit, place)) for digit in DIGITS]).diagonal().min() > 0.98


@pytest.mark.parametrize("side", [230, 60, 30])
def test_how_large_it_is_hardly_matters(side: int) -> None:
    alike = likenesses([painted(covered(digit, (5, 40), side)) for digit in DIGITS])
    assert alike.argmax(1).tolist() == list(DIGITS)
    assert alike.diagonal().mean() > 0.9


@pytest.mark.parametrize("hardship", ["light from one side", "squared paper", "noise", "dirt"])
def test_the_negative_of_a_sheet_is_the_same_digit(hardship: str) -> None:
    for digit in DIGITS:
        sheet = HARDSHIPS[hardship](covered(digit))
        assert likeness(preprocess_digit(255 - sheet).pixels, preprocess_digit(sheet).pixels) > 0.85


def test_what_was_seen_is_told_in_plain_numbers() -> None:
    told = preprocess_digit(painted(covered(8), BLUE, CREAM, shadow(0.6))).preprocessing
    assert json.loads(json.dumps(told)) == told
    assert told["inverted"]
    assert told["background_flattened"]
    left, top, right, bottom = told["cropped"]
    assert 80 <= left < right <= 190
    assert 60 <= top < bottom <= 170


def test_lines_and_marks_that_were_taken_away_are_counted() -> None:
    assert preprocess_digit(on_lines(covered(3), 60, 1.0)).preprocessing["grid_removed"] == 9  # 5 down, 4 across
    assert preprocess_digit(dirty(covered(3))).preprocessing["marks_removed"] == 5


def test_strokes_are_brought_to_mnists_width_only_with_clean() -> None:
    thin = np.zeros((HEIGHT, WIDTH))
    thin[40:200, 150:153] = thin[40:43, 100:150] = 1
    thickened, kept = (preprocess_digit(painted(thin), clean) for clean in (True, False))
    assert thickened.preprocessing["strokes"] == "thickened"
    assert "strokes" not in kept.preprocessing
    assert thickened.pixels.sum() > 1.4 * kept.pixels.sum()


# -- nothing to read


def glare(strength: float) -> npt.NDArray[np.float64]:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.asarray(1 + strength * np.exp(-((y - 90) ** 2 + (x - 120) ** 2) / 50**2))


NOTHING = np.zeros((HEIGHT, WIDTH))
BLANKS: dict[str, Callable[[], Pixels]] = {
    "white": lambda: painted(NOTHING),
    "black": lambda: painted(NOTHING, WHITE, BLACK),
    "coloured": lambda: painted(NOTHING, BLUE, (60, 160, 90)),
    "lit from one side": lambda: painted(NOTHING, BLUE, CREAM, ramp(0.4)),
    "under a lamp": lambda: painted(NOTHING, BLUE, (170, 165, 150), glare(0.4)),
    "noisy": lambda: grain(15)(painted(NOTHING, BLUE, CREAM)),
    "squared": lambda: on_lines(NOTHING, 34, 0.3),
    "ruled": lambda: on_lines(NOTHING, 34, 1.0, squared=False),
    "squared, in uneven light": lambda: painted(0.3 * lines(34), BLUE, CREAM, ramp(0.5)),
    "with a speck": lambda: painted(np.pad(np.ones((2, 2)), ((100, HEIGHT - 102), (100, WIDTH - 102)))),
}


def test_a_faint_drawing_on_clean_paper_is_read() -> None:
    faint = preprocess_digit(painted(covered(3), (225, 225, 225), (240, 240, 240)))
    assert not faint.blank
    assert likeness(faint.pixels, preprocess_digit(painted(covered(3))).pixels) > 0.9


def test_a_pen_stroke_cropped_close_is_read() -> None:
    """Pen strokes cropped close are read, whatever their shape and ink.

    The margins are in heights of the stroke, heights and blurs in pixels, and the ink so many levels below the paper.
    """
    colours = ((0, 0, 0), (40, 0, -20), (-30, 0, 40))
    shapes = product((0.05, 0.15, 0.4), (60, 90), (0.5, 1.5, 3.0))
    unread = [
        (margin, height, blur, ink, colour, quality)
        for margin, height, blur in shapes
        for ink, colour, quality in product((30, 50, 90), colours, (40, 75, 95))
        if preprocess_digit(cropped(margin, height, blur, ink, colour, quality)).blank
    ]
    assert unread == []


def cropped(margin: float, height: int, blur: float, ink: int, colour: tuple[int, int, int], quality: int) -> Pixels:
    """Draw a seven by a pen on grey paper.

    It is a phone's JPEG of the sheet.
    """
    side = round(height * (1 + 2 * margin))
    paper = (170, 172, 168)
    pen = tuple(max(0, min(255, level - ink + more)) for level, more in zip(paper, colour, strict=True))
    picture = Image.new("RGB", (side, side), paper)
    low, high = round(height * margin), round(height * (1 + margin))
    middle = side // 2
    points = [(low + height // 5, low), (high - height // 5, low), (middle, high)]
    ImageDraw.Draw(picture).line(points, fill=pen, width=max(3, height // 15), joint="curve")
    grain = np.random.default_rng(0).normal(0, 2, (side, side, 3))
    noisy = np.asarray(picture.filter(ImageFilter.GaussianBlur(blur)), np.float64) + grain
    data = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(data, "JPEG", quality=quality)
    return np.asarray(Image.open(data))


@pytest.mark.parametrize("sheet", BLANKS)
def test_there_is_no_digit_on_a_sheet_that_is(sheet: str) -> None:
    assert preprocess_digit(BLANKS[sheet]()).blank


# -- whatever comes


def assert_canonical(result: Prepared) -> None:
    assert result.pixels.shape == (28, 28, 1)
    assert result.pixels.dtype == np.uint8
    assert result.blank or result.pixels.any()
    json.dumps(result.preprocessing)


SHAPES = [(1, 1), (1, 2), (1, 300), (300, 1), (2, 2), (3, 500), (28, 28), (29, 28), (64, 48)]


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pictures_of_any_shape_and_content_are_answered(shape: tuple[int, int], clean: bool) -> None:
    chance = np.random.default_rng(shape)
    one = np.zeros(shape, np.uint8)
    one.flat[one.size // 2] = 255
    checked = (np.indices(shape).sum(0) % 2 * 255).astype(np.uint8)
    noise = [chance.integers(0, high, shape, np.uint8) for high in (2, 60, 256)]
    coloured = chance.integers(0, 256, (*shape, 3), np.uint8)
    for picture in (
        np.zeros(shape, np.uint8),
        np.full(shape, 255, np.uint8),
        one,
        255 - one,
        checked,
        *noise,
        coloured,
    ):
        assert_canonical(preprocess_digit(picture, clean))


@pytest.mark.parametrize("seed", range(8))
def test_scribbles_of_random_rectangles_are_answered(seed: int) -> None:
    chance = np.random.default_rng(seed)
    for _ in range(10):
        sheet = np.full((*chance.integers(1, 120, 2), 3), chance.integers(0, 256, 3), np.uint8)
        for _ in range(chance.integers(1, 12)):
            top, left, high, wide = chance.integers(0, 120, 4)
            sheet[top : top + high // 4, left : left + wide] = chance.integers(0, 256, 3)
        assert_canonical(preprocess_digit(sheet))


def test_grain_helpers_do_change_the_sheet() -> None:
    sheet = painted(covered(1))
    assert np.abs(grain(15)(sheet).astype(float) - sheet).mean() > 3
    assert as_pixels(np.array([-5.0, 300.0])).tolist() == [0, 255]
