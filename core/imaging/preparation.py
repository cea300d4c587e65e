"""Preparation: the one image contract of training, evaluation, serving and export.

This is its host half: bytes -> the canonical uint8 image (28x28x1 for digits). The other half (resize, to float,
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
from core.imaging.digits.segmentation import LEAST, find_ink, find_plain_ink

Pixels = npt.NDArray[np.uint8]  # height x width x channels

Preprocess = Literal["auto", "none", "invert", "center"]

PHOTO_SIDE = 224  # of the canonical photo
MIN_JPEG_SIDE = 512  # pixels to which a larger JPEG is decoded smaller, at least
WORKING_SIDE = 256  # at most, of the picture in which a digit is looked for
READ_SMALLER = "tuneserve_read_smaller"  # in Image.info: by this factor
TURNED = "tuneserve_turned"  # in Image.info: the EXIF orientation that it had, if it was not upright
UPRIGHT = 1  # the EXIF orientation of most
TINY_SPAN = 1e-6
FULL = (255, 65_535)  # white in 8 and in 16 bits
NO_ARRAY = "array must be rows of numbers, all of the same length."
# of its size, which is limited here, and of damage in files that people send. For the whole process: to do so for each
# image takes as long as opening it, and is not safe among threads
warnings.filterwarnings("ignore", module=r"PIL\.")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")  # Pillow's other readers fail in other ways, or run programs


class Preparation(BaseModel):
    """How an image becomes what the network sees. Stored with the model."""

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
    """An upright picture from the bytes of a file. NotAnImage or TooLarge, never anything else."""
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
    """Let a large JPEG be read at a half, a quarter or an eighth of its size; how many times smaller it will be."""
    width = image.width
    image.draft(None, (MIN_JPEG_SIDE, MIN_JPEG_SIDE))
    return width / image.width


def encode_png(pixels: Pixels) -> bytes:
    """The file of a canonical image."""
    data = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(data, "PNG")
    return data.getvalue()


def from_array(values: object) -> Image.Image:
    """A picture from nested lists: [h][w] or [h][w][1 or 3], whole numbers 0..255 or fractions 0..1."""
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
    """The canonical image.

    ``auto`` does what the style asks for: of a digit it finds the ink, and brings it to MNIST's form. ``center`` does
    no more than that with a digit whose strokes are right and whose paper is clean. ``none`` only brings the image to
    size, and ``invert`` exchanges light and dark besides.
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
    """Bring a drawn or photographed digit to MNIST's form. An image that has the form already is not touched.

    The picture is h x w or h x w x 3. With ``clean``, uneven light, ruling and dirt are taken away, and strokes that
    are much wider or narrower than MNIST's are made like them.
    """
    if picture.ndim == 2:
        for light, done in ((picture, {"unchanged": True}), (255 - picture, {"inverted": True})):
            if has_digit_form(light):
                return Prepared(light[:, :, None], done, blank=int(light.max()) - int(light.min()) < LEAST)
    ink = find_ink(picture) if clean else find_plain_ink(picture)
    if ink.values is None:
        return Prepared(np.zeros((DIGIT_SIDE, DIGIT_SIDE, 1), np.uint8), ink.found, blank=True)
    pixels, done = draw_digit(ink.values, strokes=clean)
    return Prepared(pixels, ink.found | done)


def fit_photo(image: Image.Image) -> Pixels:
    """The largest square in the middle of a picture, as the canonical photo. NotAnImage if it cannot be read."""
    return _square(_flat(image, "RGB")[0], (PHOTO_SIDE, PHOTO_SIDE))


def _square(image: Image.Image, size: tuple[int, int]) -> Pixels:
    return np.asarray(ImageOps.fit(image, size, Image.Resampling.BILINEAR))


def _flat(image: Image.Image, mode: str | None, longest: int | None = None) -> tuple[Image.Image, dict[str, Any]]:
    """The picture in that mode, or in L or RGB as it is; no side longer than ``longest``. And what was done to it."""
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
    """L, RGB or RGBA."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_in_8_bits(np.asarray(image, dtype=np.float64), fractions=image.mode == "F"))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        return image.convert("RGB") if image.getchannel("A").getextrema() == (255, 255) else image
    return _as(image, "L" if image.mode in ("L", "1") else "RGB")


def _as(image: Image.Image, mode: str) -> Image.Image:
    """In that mode; itself, not a copy, where it is."""
    return image if image.mode == mode else image.convert(mode)


def _in_8_bits(values: npt.NDArray[np.float64], fractions: bool) -> npt.NDArray[np.uint8]:
    """By the whole range of the values' kind and not by what there is of it: a nearly blank sheet stays one.

    8 bits where all values fit, else 16; with ``fractions`` 0..1 before those. What fits none has no range but its own.
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
    """What transparent places of an RGBA picture become: white under dark ink, black under light ink."""
    grey, alpha = np.asarray(image.convert("L"), np.float64), np.asarray(image.getchannel("A"), np.float64)
    return "white" if (grey * alpha).sum() / max(alpha.sum(), 1.0) < 128 else "black"


def _sent_size(image: Image.Image) -> list[int]:
    """Width and height before ``decode`` read it smaller."""
    return [round(side * image.info.get(READ_SMALLER, 1)) for side in image.size]
