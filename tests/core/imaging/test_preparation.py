"""core.imaging.preparation: any image becomes the form that the network was trained on."""

import contextlib
import io
import random
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from core.errors import InvalidInput, NotAnImage, TooLarge
from core.imaging.decoding import SENT_SIZE, decode
from core.imaging.idx_format import FILES
from core.imaging.preparation import (
    PADDING,
    Pixels,
    Preparation,
    Prepared,
    Preprocess,
    encode_png,
    from_array,
    prepare,
    preprocess_digit,
)
from tests.support.fakes import DIGIT_PREPARATION
from worker.data.formats.idx_files import find_idx, read_images

PLENTY = 10_000_000
PLAIN = Preparation(style="plain", height=32, width=48, channels=3, image_size=64, mean=(0.5,) * 3, std=(0.5,) * 3)


def drawing(ink: int = 255, paper: int = 0, size: tuple[int, int] = (200, 160), mode: str = "L") -> Image.Image:
    """A seven, off centre."""
    image = Image.new(mode, size, paper if mode == "L" else (paper,) * 3)
    colour = ink if mode == "L" else (ink,) * 3
    ImageDraw.Draw(image).line([(30, 40), (90, 40), (55, 120)], fill=colour, width=9)
    return image


def training_form() -> Image.Image:
    return Image.fromarray(preprocess_digit(np.asarray(drawing())).pixels[:, :, 0])


def file_of(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, format, **options)
    return data.getvalue()


def prepared(image: Image.Image, preprocess: Preprocess = "auto", **options: Any) -> Prepared:
    return prepare(decode(file_of(image, **options), PLENTY), DIGIT_PREPARATION, preprocess)


def difference(one: Pixels, other: Pixels) -> float:
    """Return the mean difference in grey levels."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


# -- photos


def test_the_whole_of_a_padded_photo_is_shown_in_the_middle_of_grey() -> None:
    form = PLAIN.model_copy(update={"style": "photo", "image_fit": "pad", "height": 48})
    picture = Image.new("RGB", (300, 100), (250, 0, 0))
    found = prepare(picture, form)
    assert found.preprocessing == {"resized_from": [300, 100], "padded": "to a square"}
    assert found.pixels.shape == (48, 48, 3)
    assert (found.pixels[16:32] == (250, 0, 0)).all()
    assert (found.pixels[:16] == PADDING).all()
    assert (found.pixels[32:] == PADDING).all()
    assert (prepare(picture, form, "none").pixels == (250, 0, 0)).all()
    assert prepare(Image.new("RGB", (5000, 1)), form).pixels.shape == (48, 48, 3)


# -- decoding


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_common_formats_are_read(format: str) -> None:
    image = decode(file_of(drawing(), format), PLENTY)
    assert image.size == (200, 160)


@pytest.mark.parametrize("data", [b"", b"seven", b"\x89PNG\r\n\x1a\n", b"<svg></svg>", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        decode(data, PLENTY)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_file_that_ends_early_is_refused(format: str) -> None:
    data = file_of(drawing(), format)
    with pytest.raises(NotAnImage):
        prepare(decode(data[: len(data) // 2], PLENTY), DIGIT_PREPARATION)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(format: str) -> None:
    whole, chance = file_of(drawing(), format), random.Random(format)
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(4):
            data[chance.randrange(min(len(data), 100))] = chance.randrange(256)
        with contextlib.suppress(NotAnImage, TooLarge):
            assert prepare(decode(bytes(data), PLENTY), DIGIT_PREPARATION).pixels.shape == (28, 28, 1)


def test_a_picture_is_too_large_before_it_is_decoded() -> None:
    data = file_of(Image.new("1", (5000, 5000)))
    assert len(data) < 10_000
    with pytest.raises(TooLarge, match="5000x5000"):
        decode(data[:200], max_pixels=24_999_999)  # its pixels are not even there
    assert decode(data, max_pixels=25_000_000).info[SENT_SIZE] == (5000, 5000)


def test_what_pillow_itself_finds_too_large_is_too_large() -> None:
    data = bytearray(file_of(Image.new("1", (8, 8))))
    data[16:24] = (100_000).to_bytes(4, "big") * 2  # the size in its header
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(TooLarge):
        decode(bytes(data), max_pixels=10**12)


def test_an_image_may_have_as_many_pixels_as_are_allowed() -> None:
    data = file_of(drawing())
    assert decode(data, 200 * 160).tobytes() == drawing().tobytes()
    with pytest.raises(TooLarge):
        decode(data, 200 * 160 - 1)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photo_taken_with_a_turned_phone_stands_upright(orientation: int) -> None:
    turned = {3: 180, 6: 90, 8: 270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(drawing().rotate(turned, expand=True), "PNG", exif=exif)
    np.testing.assert_array_equal(np.asarray(decode(data, PLENTY)), np.asarray(drawing()))


@pytest.mark.parametrize("preprocess", ["auto", "none"])
def test_it_is_told_that_a_photo_was_turned(preprocess: Preprocess) -> None:
    turned, upright = Image.Exif(), Image.Exif()
    turned[0x0112], upright[0x0112] = 6, 1
    assert prepared(drawing(), preprocess, exif=turned).preprocessing["exif_orientation"] == 6
    assert "exif_orientation" not in prepared(drawing(), preprocess, exif=upright).preprocessing


def test_a_large_jpeg_is_read_smaller_and_its_places_are_told_in_its_own_pixels() -> None:
    photo = drawing(0, 255, mode="RGB").resize((3200, 2560))
    image = decode(file_of(photo, "JPEG", quality=90), PLENTY)
    assert image.size == (800, 640)
    result = prepare(image, DIGIT_PREPARATION)
    seven = [26, 36, 95, 124]  # left, top, right, bottom in the drawing, to a few pixels
    assert np.abs(np.array(result.preprocessing["cropped"]) / 16 - seven).max() < 5
    assert prepare(image, DIGIT_PREPARATION, "none").preprocessing == {"resized_from": [3200, 2560]}
    assert difference(result.pixels, prepared(drawing()).pixels) < 5


@pytest.mark.parametrize("channels", [1, 3])
def test_a_canonical_image_comes_back_from_its_file(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 20, channels), np.uint8)
    read = np.asarray(decode(encode_png(pixels), PLENTY))
    np.testing.assert_array_equal(read.reshape(pixels.shape), pixels)


# -- arrays


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (1, 1)])
def test_rows_of_numbers_are_a_picture(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(np.asarray(from_array(values.tolist())).ravel(), values.ravel())


def test_fractions_mean_the_same_as_whole_numbers() -> None:
    whole = [[0, 51, 255]]
    np.testing.assert_array_equal(from_array([[0, 0.2, 1]]), from_array(whole))
    np.testing.assert_array_equal(from_array(whole), np.array(whole))


def test_a_tensor_becomes_a_picture_in_little_more_memory_than_the_picture() -> None:
    """A tensor becomes a picture without several copies.

    Once it was copied several times in 64 bits.
    """
    bytes_of_each = {}
    for kind, white in ((np.uint8, 200), (np.float32, 200), (np.float32, 1), (np.uint8, 1)):
        tensor = np.full((3000, 3000), white, kind)
        tracemalloc.start()
        picture = from_array(tensor)
        bytes_of_each[kind, white] = tracemalloc.get_traced_memory()[1] / tensor.size
        tracemalloc.stop()
        assert picture.getextrema() == ((200, 200) if white == 200 else (255, 255))
    assert max(bytes_of_each.values()) < 6, bytes_of_each


@pytest.mark.parametrize(
    "values",
    [
        [],
        [[]],
        [1, 2],
        [[1, 2], [3]],
        [[[1, 2]]],
        [[[[1]]]],
        [["a"]],
        [[None]],
        [[-1]],
        [[256]],
        [[float("nan")]],
        [[float("inf")]],
        [[10**400]],
        [[{}]],
        7,
    ],
    ids=str,
)
def test_values_that_are_no_picture_are_refused(values: object) -> None:
    with pytest.raises(InvalidInput, match="array must"):
        from_array(values)


# -- the form of the training images


def test_an_image_in_training_form_is_not_changed_by_a_bit() -> None:
    image = training_form()
    result = prepared(image)
    np.testing.assert_array_equal(result.pixels[:, :, 0], np.asarray(image))
    assert result.preprocessing == {"unchanged": True}
    assert not result.blank


def test_no_test_digit_of_mnist_is_changed_by_a_bit(shared: Path) -> None:
    file = find_idx(shared / "data" / "mnist", "MNIST", FILES[2])
    assert file is not None
    digits = read_images(file)
    assert len(digits) == 10_000
    for number, digit in enumerate(digits):
        result = prepare(Image.fromarray(digit[..., 0]), DIGIT_PREPARATION)
        assert result.preprocessing == {"unchanged": True}, number
        np.testing.assert_array_equal(result.pixels, digit, err_msg=str(number))


def test_real_training_images_are_not_changed_by_their_files(shared: Path) -> None:
    files = sorted((shared / "data" / "mnist_png_samples").glob("*.png"))
    assert len(files) == 10
    for file in files:
        result = prepare(decode(file.read_bytes(), PLENTY), DIGIT_PREPARATION)
        with Image.open(file) as image:
            np.testing.assert_array_equal(result.pixels[:, :, 0], np.asarray(image.convert("L")))


def test_real_photos_and_drawings_come_out_with_ink(shared: Path) -> None:
    files = [file for file in (shared / "data" / "digit_photos").rglob("*.*") if file.is_file()]
    assert len(files) == 54
    for file in files:
        result = prepare(decode(file.read_bytes(), PLENTY), DIGIT_PREPARATION)
        assert result.pixels.shape == (28, 28, 1)
        assert not result.blank, file
        assert result.pixels.max() > 200, file


def test_dark_on_light_is_the_same_as_light_on_dark() -> None:
    light, dark = prepared(drawing(255, 0)), prepared(drawing(0, 255))
    np.testing.assert_array_equal(light.pixels, dark.pixels)
    assert (light.preprocessing["inverted"], dark.preprocessing["inverted"]) == (False, True)


@pytest.mark.parametrize("place", [(0, 0), (50, 30), (20, 60)])
def test_where_on_the_paper_it_stands_does_not_matter(place: tuple[int, int]) -> None:
    sheet = Image.new("L", (250, 220), 255)
    sheet.paste(drawing(0, 255), place)
    np.testing.assert_array_equal(prepared(sheet).pixels, prepared(drawing(0, 255)).pixels)


def test_how_large_and_how_dark_it_is_hardly_matters() -> None:
    plain = prepared(drawing(0, 255)).pixels
    assert difference(prepared(drawing(0, 255).resize((800, 640))).pixels, plain) < 4.5
    assert difference(prepared(drawing(90, 200)).pixels, plain) < 4
    assert difference(plain, prepared(drawing(0, 255).transpose(Image.Transpose.FLIP_LEFT_RIGHT)).pixels) > 10


@pytest.mark.parametrize("paper", [0, 128, 255])
@pytest.mark.parametrize("size", [(28, 28), (300, 200), (1, 1)])
def test_an_empty_sheet_is_blank(paper: int, size: tuple[int, int]) -> None:
    assert prepared(Image.new("L", size, paper)).blank


def test_paper_with_a_faint_shadow_is_blank() -> None:
    shadow = np.linspace(200, 230, 100).astype(np.uint8)
    assert prepared(Image.fromarray(np.tile(shadow, (100, 1)))).blank


# -- modes of files


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I"])
@pytest.mark.parametrize(("ink", "paper"), [(255, 0), (0, 255)])
def test_the_same_drawing_in_any_mode_is_the_same_digit(mode: str, ink: int, paper: int) -> None:
    image = drawing(ink, paper)
    if mode in ("I;16", "I"):
        deep = np.asarray(image).astype(np.uint16 if mode == "I;16" else np.int32) * 257
        image = Image.fromarray(deep)
        assert image.mode == mode
    else:
        image = image.convert(mode)
    result = prepared(image, format="TIFF" if mode == "I" else "PNG")
    np.testing.assert_array_equal(result.pixels, prepared(drawing()).pixels)


@pytest.mark.parametrize(
    ("sheet", "kind"), [(60_000, np.uint16), (60_000, np.int32), (2_000, np.uint16), (0.9, np.float32)]
)
def test_a_nearly_blank_sheet_in_many_bits_is_blank(sheet: float, kind: type) -> None:
    values = np.full((160, 200), sheet, float)
    values[np.asarray(drawing()) > 0] *= 0.97  # no darker than the shade of a fold
    image = Image.fromarray(values.astype(kind))
    assert prepared(image, format="TIFF").blank


def test_values_of_8_bits_in_more_of_them_are_taken_as_they_are() -> None:
    values = np.asarray(drawing(200, 30))
    for kind in (np.uint16, np.int32, np.float32):
        result = prepared(Image.fromarray(values.astype(kind)), "none", format="TIFF")
        np.testing.assert_array_equal(result.pixels, prepared(drawing(200, 30), "none").pixels)


def test_numbers_without_a_range_are_seen_by_their_own() -> None:
    values = np.asarray(drawing()).astype(np.float32) * 1e4 - 7e5
    values[0, :2] = np.nan, np.inf
    assert not prepared(Image.fromarray(values), format="TIFF").blank
    assert prepared(Image.fromarray(np.full_like(values, -5)), format="TIFF").blank


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_a_drawing_for_print_is_the_same_digit(format: str) -> None:
    printed = prepared(drawing(0, 255, mode="RGB").convert("CMYK"), format=format)
    assert difference(printed.pixels, prepared(drawing()).pixels) < 4


@pytest.mark.parametrize("shade", [0, 60, 200, 255])
def test_strokes_on_a_transparent_ground_are_seen_dark_or_light(shade: int) -> None:
    ink = drawing()  # as the opacity
    picture = Image.merge("LA", (Image.new("L", ink.size, shade), ink))
    assert difference(prepared(picture).pixels, prepared(drawing()).pixels) < 4
    for preprocess in ("auto", "none"):
        paper = prepared(picture, preprocess).preprocessing["transparent_on"]
        assert paper == ("white" if shade < 128 else "black")


def test_of_a_picture_that_only_could_be_transparent_nothing_is_told() -> None:
    assert "transparent_on" not in prepared(drawing().convert("RGBA")).preprocessing


def test_a_palette_with_a_transparent_colour_is_seen() -> None:
    image = drawing(0, 255).convert("P")
    transparent = int(np.asarray(image)[0, 0])
    result = prepared(image, transparency=transparent)
    assert difference(result.pixels, prepared(drawing()).pixels) < 4


def test_a_transparent_sheet_is_blank() -> None:
    assert prepared(Image.new("RGBA", (100, 100), (0, 0, 0, 0))).blank


# -- without looking for a digit


def test_none_only_brings_the_image_to_size() -> None:
    image = drawing(0, 255)
    result = prepared(image, preprocess="none")
    resized = image.resize((28, 28), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(result.pixels[:, :, 0], np.asarray(resized))
    assert result.preprocessing == {"resized_from": [200, 160]}


def test_invert_exchanges_light_and_dark_besides() -> None:
    image = drawing(0, 255)
    result = prepared(image, preprocess="invert")
    np.testing.assert_array_equal(result.pixels, 255 - prepared(image, preprocess="none").pixels)
    assert result.preprocessing == {"resized_from": [200, 160], "inverted": True}


def test_center_leaves_the_strokes_as_they_are() -> None:
    thin = drawing(0, 255).resize((800, 640))
    assert "strokes" not in prepared(thin, preprocess="center").preprocessing
    assert prepared(thin, preprocess="center").preprocessing["centred"]


@pytest.mark.parametrize("preprocess", ["auto", "none", "center"])
def test_the_plain_style_keeps_colours_and_changes_only_the_size(preprocess: Preprocess) -> None:
    image = Image.new("RGB", (96, 64), (200, 100, 0))
    result = prepare(image, PLAIN, preprocess)
    assert result.pixels.shape == (32, 48, 3)
    assert (result.pixels == (200, 100, 0)).all()
    assert prepare(image.resize((48, 32)), PLAIN, preprocess).preprocessing == {}
