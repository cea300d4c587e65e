"""Image preprocessing shared by training, evaluation, serving and export.

This is the half on the host: bytes -> the canonical uint8 image (28x28x1 for digits). The other half (resize, to float,
channels, mean and std) is `core.inference.network.Prepare`, part of the network's graph. No torch here.
"""

import io
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict

from core.errors import InvalidInput, NotAnImage, TooLarge
from core.imaging.digits.mnist_format import DIGIT_SIDE, draw_digit, has_digit_form
from core.imaging.digits.segmentation import MIN_CONTRAST, find_ink, find_plain_ink

Pixels = npt.NDArray[np.uint8]  # height x width x channels

Preprocess = Literal["auto", "none", "invert", "center"]

PHOTO_SIDE = 224  # of the canonical photo
MIN_JPEG_SIDE = 512  # a JPEG is not downscaled below so many pixels a side while it is decoded
WORKING_SIDE = 256  # longest side in pixels of the picture in which a digit is located
READ_SMALLER = "tuneserve_read_smaller"  # in Image.info: the factor by which decoding downscaled
TURNED = "tuneserve_turned"  # in Image.info: the original EXIF orientation, if it was not upright
UPRIGHT = 1  # EXIF orientation
TINY_SPAN = 1e-6
FULL = (255, 65_535)  # white in 8 and in 16 bits
NO_ARRAY = "array must be rows of numbers, all of the same length."
# Pillow warns about large and damaged images, which raise errors here. The filter is set for the whole process: setting
# it for each image takes as long as opening the image, and is not thread-safe
warnings.filterwarnings("ignore", module=r"PIL\.")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")  # Pillow's other readers fail in other ways, or run programs


class Preparation(BaseModel):
    """Parameters of the preprocessing, stored with the model."""

    model_config = ConfigDict(frozen=True)

    style: Literal["digit", "plain", "photo"]  # digit: cropped and centred as MNIST's; photo: cut to a square
    height: int  # of the canonical image
    width: int
    channels: Literal[1, 3]
    image_size: int  # side that the network sees
    mean: tuple[float, float, float]  # of the values 0..1, a channel each
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Prepared:
    pixels: Pixels  # canonical
    preprocessing: dict[str, Any]  # what was done to the image
    blank: bool = False  # there is nothing on it to read


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Decode the bytes of a file to an upright picture; raises NotAnImage or TooLarge only."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > max_pixels:
            raise TooLarge(f"The image is {image.width}x{image.height}; at most {max_pixels} pixels are allowed.")
        image.info[READ_SMALLER] = _draft(image)
        image.load()
        if (orientation := image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)) != UPRIGHT:
            image.info[TURNED] = orientation
            ImageOps.exif_transpose(image, in_place=True)
        return image
    except TooLarge:  # a ValueError too
        raise
    except Image.DecompressionBombError as error:
        raise TooLarge(f"The image is too large: {error}") from error
    except UnidentifiedImageError as error:
        raise NotAnImage("This is not an image in a known format (PNG, JPEG, GIF, BMP, TIFF, WebP).") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError) as error:
        raise NotAnImage(f"The image cannot be read: {error}.") from error


def _draft(image: Image.Image) -> float:
    """Decode a large JPEG at 1/2, 1/4 or 1/8 of its size; return how many times smaller it will be."""
    width = image.width
    image.draft(None, (MIN_JPEG_SIDE, MIN_JPEG_SIDE))
    return width / image.width


def encode_png(pixels: Pixels) -> bytes:
    """Encode a canonical image as PNG."""
    data = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(data, "PNG")
    return data.getvalue()


def from_array(values: object) -> Image.Image:
    """Convert nested lists to a picture: [h][w] or [h][w][1 or 3], integers 0..255 or fractions 0..1."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(NO_ARRAY) from error
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise InvalidInput(f"array must have the shape [h][w] or [h][w][3], not {list(array.shape)}.")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise InvalidInput("array must hold numbers 0..255, or fractions 0..1.")
    if array.max() <= 1:  # fractions, or a drawing of zeros and ones
        array = array * 255
    return Image.fromarray(array.round().astype(np.uint8))


def prepare(image: Image.Image, preparation: Preparation, preprocess: Preprocess = "auto") -> Prepared:
    """Preprocess a picture to the canonical image.

    ``auto`` follows the style: a digit's ink is segmented and brought to MNIST's form. ``center`` crops and centers a
    digit without cleaning paper or strokes. ``none`` only resizes, and ``invert`` also swaps light and dark.
    """
    if preparation.style == "digit" and preprocess in ("auto", "center"):
        return _prepare_digit(image, clean=preprocess == "auto")
    flat, done = _flat(image, "L" if preparation.channels == 1 else "RGB")
    if preprocess == "invert":
        flat = ImageOps.invert(flat)
    size, sent = (preparation.width, preparation.height), _sent_size(image)
    if sent != list(size):
        done["resized_from"] = sent
        if preparation.style == "photo" and preprocess == "auto":
            return Prepared(_square(flat, size), done | {"cropped": "middle square"})
    resized = flat if flat.size == size else flat.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(resized).reshape(preparation.height, preparation.width, preparation.channels)
    return Prepared(pixels, done | ({"inverted": True} if preprocess == "invert" else {}))


def _prepare_digit(image: Image.Image, clean: bool) -> Prepared:
    flat, done = _flat(image, None, WORKING_SIDE)
    prepared = preprocess_digit(np.asarray(_as(flat, "L") if flat.size == (DIGIT_SIDE, DIGIT_SIDE) else flat), clean)
    if "cropped" in prepared.preprocessing:
        scale = max(_sent_size(image)) / max(flat.size)
        prepared.preprocessing["cropped"] = [round(side * scale) for side in prepared.preprocessing["cropped"]]
    return replace(prepared, preprocessing=done | prepared.preprocessing) if done else prepared


def preprocess_digit(picture: Pixels, clean: bool = True) -> Prepared:
    """Bring a drawn or photographed digit to MNIST's form, unless it has that form.

    The picture is h x w or h x w x 3. With ``clean``, uneven light, ruled lines and specks are removed, and strokes
    much wider or narrower than MNIST's are made as wide.
    """
    if picture.ndim == 2:
        for light, done in ((picture, {"unchanged": True}), (255 - picture, {"inverted": True})):
            if has_digit_form(light):
                return Prepared(light[:, :, None], done, blank=int(light.max()) - int(light.min()) < MIN_CONTRAST)
    ink = find_ink(picture) if clean else find_plain_ink(picture)
    if ink.values is None:
        return Prepared(np.zeros((DIGIT_SIDE, DIGIT_SIDE, 1), np.uint8), ink.found, blank=True)
    pixels, done = draw_digit(ink.values, strokes=clean)
    return Prepared(pixels, ink.found | done)


def fit_photo(image: Image.Image) -> Pixels:
    """Crop the largest centered square to the canonical photo; NotAnImage if it cannot be read."""
    return _square(_flat(image, "RGB")[0], (PHOTO_SIDE, PHOTO_SIDE))


def _square(image: Image.Image, size: tuple[int, int]) -> Pixels:
    return np.asarray(ImageOps.fit(image, size, Image.Resampling.BILINEAR))


def _flat(image: Image.Image, mode: str | None, longest: int | None = None) -> tuple[Image.Image, dict[str, Any]]:
    """Convert a picture to ``mode``, by default L or RGB, and list the steps taken.

    No side is longer than ``longest`` pixels. Transparency is replaced by paper.
    """
    done = {"exif_orientation": image.info[TURNED]} if TURNED in image.info else {}
    try:
        flat = _shrunk(_in_plain_mode(image), longest)
        if flat.mode == "RGBA":
            paper = _paper_under(flat)
            done["transparent_on"] = paper
            flat = Image.alpha_composite(Image.new("RGBA", flat.size, paper), flat).convert("RGB")
        return flat if mode is None else _as(flat, mode), done
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError) as error:
        raise NotAnImage(f"The image cannot be read: {error}.") from error


def _in_plain_mode(image: Image.Image) -> Image.Image:
    """Convert to L, RGB or RGBA."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_in_8_bits(np.asarray(image, dtype=np.float64), fractions=image.mode == "F"))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        return image.convert("RGB") if image.getchannel("A").getextrema() == (255, 255) else image
    return _as(image, "L" if image.mode in ("L", "1") else "RGB")


def _as(image: Image.Image, mode: str) -> Image.Image:
    """Convert to a mode; returns the image itself if it has that mode."""
    return image if image.mode == mode else image.convert(mode)


def _in_8_bits(values: npt.NDArray[np.float64], fractions: bool) -> npt.NDArray[np.uint8]:
    """Scale values to 8 bits by the range of their type, so that a nearly blank sheet stays blank.

    The range is 8 bits if all values fit, else 16 bits; with ``fractions``, 0..1 is tried first. Values outside all
    three are scaled by their own minimum and maximum.
    """
    values = np.where(np.isfinite(values), values, 0)
    low, high = float(values.min()), float(values.max())
    fitting = [full for full in ((1, *FULL) if fractions else FULL) if low >= 0 and high <= full]
    black, white = (0, fitting[0]) if fitting else (low, high)
    return np.asarray(((values - black) * (255 / max(white - black, TINY_SPAN))).round(), np.uint8)


def _shrunk(image: Image.Image, longest: int | None) -> Image.Image:
    if longest is None or max(image.size) <= longest:
        return image
    size = [max(1, round(side * longest / max(image.size))) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BOX, reducing_gap=2)


def _paper_under(image: Image.Image) -> Literal["white", "black"]:
    """Choose the background under transparent pixels: white for dark ink, black for light ink."""
    grey, alpha = np.asarray(image.convert("L"), np.float64), np.asarray(image.getchannel("A"), np.float64)
    return "white" if (grey * alpha).sum() / max(alpha.sum(), 1.0) < 128 else "black"


def _sent_size(image: Image.Image) -> list[int]:
    """Return width and height before ``decode`` downscaled the image."""
    return [round(side * image.info.get(READ_SMALLER, 1)) for side in image.size]
