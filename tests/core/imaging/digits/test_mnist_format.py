"""core.imaging.digits.mnist_format: MNIST's form of a digit, seen and made."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from core.imaging.digits.mnist_format import centre_in_frame, draw_digit, has_digit_form, stroke_width
from tests.conftest import DIGIT_FILES

Ink = npt.NDArray[np.float64]


@pytest.fixture(params=range(10))
def ink(request: pytest.FixtureRequest) -> Ink:
    """A real digit's ink, cut out."""
    with Image.open(DIGIT_FILES[request.param]) as file:
        opacity = 1 - np.asarray(file.convert("L")) / 255
    rows, columns = np.flatnonzero(opacity.any(1)), np.flatnonzero(opacity.any(0))
    return np.asarray(opacity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def corner(width: int, side: int = 160) -> Ink:
    """Draw an L in strokes of that many pixels."""
    drawn = np.zeros((side, side))
    drawn[:, :width] = drawn[-width:] = 1
    return drawn


def box_of(frame: npt.NDArray[np.uint8]) -> int:
    return max(int(np.ptp(np.flatnonzero(frame[..., 0].any(axis)))) + 1 for axis in (0, 1))


def test_what_is_drawn_has_the_form(ink: Ink) -> None:
    frame, done = draw_digit(ink, strokes=True)
    assert has_digit_form(frame[..., 0])
    assert (box_of(frame), int(frame.max()), done["centred"]) == (20, 255, True)


def test_the_centre_of_mass_is_where_mnists_are(ink: Ink) -> None:
    frame = centre_in_frame(ink)[..., 0].astype(float)
    assert abs(frame.sum(1) @ np.arange(28) / frame.sum() - 14) <= 0.51
    assert abs(frame.sum(0) @ np.arange(28) / frame.sum() - 14) <= 0.51


def test_real_training_images_have_the_form_and_their_negatives_have_not(shared: Path) -> None:
    files = sorted((shared / "data" / "mnist_png_samples").glob("*.png"))
    assert len(files) == 10
    for file in files:
        with Image.open(file) as image:
            grey = np.asarray(image.convert("L"))
        assert (has_digit_form(grey), has_digit_form(255 - grey)) == (True, False)


def test_a_digit_that_is_moved_cut_off_or_shrunk_has_not_the_form(ink: Ink) -> None:
    frame = centre_in_frame(ink)[..., 0]
    small = np.pad(frame[::2, ::2], 7)
    for other in (np.roll(frame, 3, 0), np.roll(frame, -3, 1), small, frame[:-1], np.pad(frame, 1), 255 - frame):
        assert not has_digit_form(other)


def test_an_empty_frame_has_the_form() -> None:
    assert has_digit_form(np.zeros((28, 28), np.uint8))


@pytest.mark.parametrize("width", [3, 6, 12, 24])
def test_the_width_of_a_stroke_is_measured(width: int) -> None:
    assert stroke_width(corner(width)) == pytest.approx(width, rel=0.1)


@pytest.mark.parametrize(("width", "done"), [(3, "thickened"), (8, "thickened"), (18, None), (50, "thinned")])
def test_strokes_become_as_wide_as_mnists(width: int, done: str | None) -> None:
    frame, told = draw_digit(corner(width), strokes=True)
    assert told.get("strokes") == done
    assert 1.5 < stroke_width(frame[..., 0] / 255) < 5
    assert box_of(frame) == 20


def test_strokes_are_left_as_they_are_when_not_asked() -> None:
    frame, told = draw_digit(corner(3), strokes=False)
    assert told == {"centred": True}
    assert (frame == centre_in_frame(corner(3))).all()


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (1, 1), (3, 2)], ids=str)
@pytest.mark.parametrize("strokes", [True, False])
def test_ink_of_any_shape_fits_the_frame(shape: tuple[int, int], strokes: bool) -> None:
    frame, _ = draw_digit(np.ones(shape), strokes)
    assert frame.shape == (28, 28, 1)
    assert frame.max() == 255
