"""Preparation: the one image contract of training, evaluation, serving and export.

This is its host half: bytes -> the canonical uint8 image (28x28x1 for digits). The other half (resize, to float,
channels, mean and std) is `core.network.Prepare`, part of the network's graph. No torch here.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict

from core.errors import InvalidInput, NotAnImage, TooLarge

Pixels = npt.NDArray[np.uint8]  # height x width x channels

PHOTO_SIDE = 224  # of the canonical photo
DIGIT_SIDE = 28  # MNIST's frame ...
DIGIT_BOX = 20  # ... and the box in it that holds the ink
INK_CONTRAST = 40  # grey levels between paper and ink under which there is no digit
INK_SHARE = 0.25  # of the contrast: what counts as ink when cropping
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
    normalized: dict[str, Any]  # what was done to the image
    blank: bool = False  # there is nothing on it to read


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """An upright picture from the bytes of a file. NotAnImage or TooLarge, never anything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own size warning; the limit below is ours
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > max_pixels:
                raise TooLarge(f"The image is {image.width}x{image.height}; at most {max_pixels} pixels are allowed.")
            return ImageOps.exif_transpose(image)
    except TooLarge:  # a ValueError too
        raise
    except Image.DecompressionBombError as error:
        raise TooLarge(f"The image is too large: {error}") from error
    except UnidentifiedImageError as error:
        raise NotAnImage("This is not an image in a known format (PNG, JPEG, GIF, BMP, TIFF, WebP).") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError) as error:
        raise NotAnImage(f"The image cannot be read: {error}.") from error


def from_array(values: object) -> Image.Image:
    """A picture from nested lists: [h][w] or [h][w][1 or 3], whole numbers 0..255 or fractions 0..1."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput("array must be rows of numbers, all of the same length.") from error
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise InvalidInput(f"array must have the shape [h][w] or [h][w][3], not {list(array.shape)}.")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise InvalidInput("array must hold numbers 0..255, or fractions 0..1.")
    if array.max() <= 1:  # fractions, or a drawing of zeros and ones
        array = array * 255
    return Image.fromarray(array.round().astype(np.uint8))


def prepare(image: Image.Image, preparation: Preparation, normalize: Literal["auto", "none"] = "auto") -> Prepared:
    """The canonical image. ``none`` only brings it to size; ``auto`` also does what the style asks for."""
    flat = _flat(image, "L" if preparation.channels == 1 else "RGB")
    size = (preparation.width, preparation.height)
    if normalize == "auto" and preparation.style == "digit":
        return normalize_digit(np.asarray(flat))
    unchanged = flat.size == size
    if normalize == "auto" and preparation.style == "photo" and not unchanged:
        return Prepared(_square(flat, size), {"resized_from": list(flat.size), "cropped": "middle square"})
    resized = flat if unchanged else flat.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(resized).reshape(preparation.height, preparation.width, preparation.channels)
    return Prepared(pixels, {} if unchanged else {"resized_from": list(flat.size)})


def fit_photo(image: Image.Image) -> Pixels:
    """The largest square in the middle of a picture, as the canonical photo. NotAnImage if it cannot be read."""
    return _square(_flat(image, "RGB"), (PHOTO_SIDE, PHOTO_SIDE))


def _square(image: Image.Image, size: tuple[int, int]) -> Pixels:
    return np.asarray(ImageOps.fit(image, size, Image.Resampling.BILINEAR))


def normalize_digit(grey: Pixels) -> Prepared:
    """Bring a drawn or photographed digit to MNIST's form: light ink on black, in a 20x20 box, centred by mass.

    An image that has the form already is not touched. Source: LeCun's MNIST page, on how the set was made.
    """
    if _has_training_form(grey):
        return Prepared(grey[:, :, None], {"unchanged": True}, blank=_contrast(grey) < INK_CONTRAST)
    paper = float(np.median(_border(grey)))
    inverted = _ink_is_dark(grey, paper)
    ink = np.clip((paper - grey) if inverted else (grey - paper), 0, 255)
    if ink.max() < INK_CONTRAST:
        return Prepared(np.zeros((DIGIT_SIDE, DIGIT_SIDE, 1), np.uint8), {"inverted": inverted}, blank=True)
    ink = ink / ink.max()
    ink[ink < INK_SHARE / 2] = 0
    top, bottom, left, right = _bounds(ink > INK_SHARE)
    return Prepared(
        centre_in_frame(ink[top:bottom, left:right]),
        {"inverted": inverted, "cropped": [left, top, right, bottom], "centred": True},
    )


def centre_in_frame(ink: npt.NDArray[np.floating[Any]]) -> Pixels:
    """Scale ink (0..1) to fit the 20x20 box, keeping its aspect, and put its centre of mass at the frame's."""
    scale = DIGIT_BOX / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    small = np.asarray(
        Image.fromarray(ink.astype(np.float32)).resize(
            (width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
        )
    )
    small = np.clip(small, 0, 1)
    small = small / max(float(small.max()), 1e-6)
    mass = max(float(small.sum()), 1e-6)
    row = float((small.sum(1) @ np.arange(height)) / mass)
    column = float((small.sum(0) @ np.arange(width)) / mass)
    centre = (DIGIT_SIDE - 1) / 2
    y = int(np.clip(round(centre - row), 0, DIGIT_SIDE - height))
    x = int(np.clip(round(centre - column), 0, DIGIT_SIDE - width))
    frame = np.zeros((DIGIT_SIDE, DIGIT_SIDE, 1), np.uint8)
    frame[y : y + height, x : x + width, 0] = np.round(small * 255).astype(np.uint8)
    return frame


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """The picture in that mode. A file is read to its end only here, so a truncated one is found out here."""
    try:
        return _flatten(image, mode)
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError) as error:
        raise NotAnImage(f"The image cannot be read: {error}.") from error


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """One mode for all. Transparent places become paper: white under dark ink, black under light ink."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        span = max(float(values.max()) - float(values.min()), 1.0)
        image = Image.fromarray(((values - values.min()) * (255 / span)).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layers = image.convert("RGBA")
        grey, alpha = np.asarray(layers.convert("L"), np.float64), np.asarray(layers.getchannel("A"), np.float64)
        shade = (grey * alpha).sum() / max(alpha.sum(), 1.0)
        paper = Image.new("RGBA", layers.size, "white" if shade < 128 else "black")
        image = Image.alpha_composite(paper, layers)
    return image.convert(mode)


def _has_training_form(grey: Pixels) -> bool:
    """28x28 with a black edge. Not every MNIST image leaves its edge wholly black, hence the median."""
    return grey.shape == (DIGIT_SIDE, DIGIT_SIDE) and float(np.median(_border(grey))) == 0


def _border(grey: Pixels) -> Pixels:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _contrast(grey: Pixels) -> int:
    return int(grey.max()) - int(grey.min())


def _ink_is_dark(grey: Pixels, paper: float) -> bool:
    """Ink is what lies farthest from the paper."""
    return paper - float(grey.min()) > float(grey.max()) - paper


def _bounds(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right (ends excluded) of what is set."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
