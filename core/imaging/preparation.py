"""Image preprocessing shared by training, evaluation, serving and export.

This is the half on the host: bytes -> the canonical uint8 image (28x28x1 for digits). The other half (resize, to float,
channels, mean and std) is `core.inference.network.Prepare`, part of the network's graph. No torch here.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict

from core.errors import InvalidInput
from core.imaging.conversion import MIN_SIDE
from core.imaging.decoding import SENT_SIZE, TURNED
from core.imaging.digits.mnist_format import DIGIT_SIDE, draw_digit, has_digit_form
from core.imaging.digits.segmentation import MIN_CONTRAST, find_ink, find_plain_ink
from core.networks import Resampling

Pixels = npt.NDArray[np.uint8]  # height x width x channels

Preprocess = Literal["auto", "none", "invert", "center"]
Fit = Literal["crop", "pad", "squash"]  # how a picture of any shape becomes one of a given shape

FILTERS: Mapping[Resampling, Image.Resampling] = MappingProxyType(
    {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
)
PHOTO_SIDE = 224  # of the canonical photo, unless another is named
MAX_PHOTO_SIDE = MIN_SIDE  # decoding keeps so many pixels a side
PADDING = (124, 116, 104)  # RGB, the mean of ImageNet's photos: about 0 where a network sees it
GREY_PADDING = 118  # as light
WORKING_SIDE = 256  # longest side in pixels of the picture in which a digit is located
FITTED: Mapping[Fit, dict[str, str]] = MappingProxyType(  # as `preprocessing` says it
    {"crop": {"cropped": "middle square"}, "pad": {"padded": "to a square"}, "squash": {}}
)
STRIP_VALUES = 2**20  # of an array, converted at a time
NO_ARRAY = "array must be rows of numbers, all of the same length."


class Preparation(BaseModel):
    """Parameters of the preprocessing, stored with the model."""

    model_config = ConfigDict(frozen=True)

    style: Literal["digit", "plain", "photo"]  # digit: cropped and centred as MNIST's
    image_fit: Fit | None = None  # None: a digit's, or squash
    resampling: Resampling = "bilinear"  # of pictures that become canonical images; a digit has its own
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


def encode_png(pixels: Pixels) -> bytes:
    """Encode a canonical image as PNG."""
    data = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(data, "PNG")
    return data.getvalue()


def from_array(values: object) -> Image.Image:
    """Convert nested lists to a picture.

    Shape [h][w] or [h][w][1 or 3], integers 0..255 or fractions 0..1.
    """
    array = _numbers(values)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise InvalidInput(f"array must have the shape [h][w] or [h][w][3], not {list(array.shape)}.")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 255):  # neither holds of NaN
        raise InvalidInput("array must hold numbers 0..255, or fractions 0..1.")
    if array.dtype == np.uint8 and high > 1:
        return Image.fromarray(array)
    scale = 255 if high <= 1 else 1  # fractions, or a drawing of zeros and ones
    picture = np.empty(array.shape, np.uint8)
    rows = max(1, STRIP_VALUES // array[0].size)
    for top in range(0, len(array), rows):  # a strip at a time is in 64 bits
        picture[top : top + rows] = (array[top : top + rows].astype(np.float64) * scale).round()
    return Image.fromarray(picture)


def _numbers(values: object) -> npt.NDArray[Any]:
    if isinstance(values, np.ndarray) and values.dtype.kind in "uif":
        return values
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(NO_ARRAY) from error


def prepare(image: Image.Image, preparation: Preparation, preprocess: Preprocess = "auto") -> Prepared:
    """Preprocess a picture to the canonical image.

    ``auto`` follows the style: a digit's ink is segmented and brought to MNIST's form. ``center`` crops and centers a
    digit without cleaning paper or strokes. ``none`` only resizes, and ``invert`` also swaps light and dark. Any other
    picture gets its shape by the preparation's ``image_fit``.
    """
    if preparation.style == "digit" and preprocess in ("auto", "center"):
        return _prepare_digit(image, clean=preprocess == "auto")
    flat, done = _flat(image, "L" if preparation.channels == 1 else "RGB")
    if preprocess == "invert":
        flat = ImageOps.invert(flat)
    size, sent = (preparation.width, preparation.height), _sent_size(image)
    fit = (preparation.image_fit or "squash") if preprocess == "auto" else "squash"
    if sent != list(size):
        done |= {"resized_from": sent} | FITTED[fit]
    fitted = flat if flat.size == size else _fitted(flat, size, fit, FILTERS[preparation.resampling])
    pixels = np.asarray(fitted).reshape(preparation.height, preparation.width, preparation.channels)
    return Prepared(pixels, done | ({"inverted": True} if preprocess == "invert" else {}))


def _prepare_digit(image: Image.Image, clean: bool) -> Prepared:
    flat, done = _flat(image, None, WORKING_SIDE)
    prepared = preprocess_digit(np.asarray(_as(flat, "L") if flat.size == (DIGIT_SIDE, DIGIT_SIDE) else flat), clean)
    if "cropped" in prepared.preprocessing:
        scale = max(_sent_size(image)) / max(flat.size)
        prepared.preprocessing["cropped"] = [round(side * scale) for side in prepared.preprocessing["cropped"]]
    return replace(prepared, preprocessing=done | prepared.preprocessing) if done else prepared


def preprocess_digit(picture: Pixels, clean: bool = True) -> Prepared:
    """Convert a drawn or photographed digit to MNIST's form.

    A picture that has that form stays as it is, and one that is its negative is inverted. The picture is h x w or h x w
    x 3. With ``clean``, uneven light, ruled lines and specks are removed, and strokes much wider or narrower than
    MNIST's are made as wide.
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


def to_grey(image: Image.Image) -> Pixels:
    """Convert a picture to grey levels, h x w.

    Transparent pixels show paper.
    """
    return np.asarray(_flat(image, "L")[0])


def fit_photo(
    image: Image.Image, side: int = PHOTO_SIDE, fit: Fit = "crop", resampling: Resampling = "bilinear"
) -> Pixels:
    """Fit a picture into the square of the canonical photo."""
    return np.asarray(_fitted(_flat(image, "RGB")[0], (side, side), fit, FILTERS[resampling]))


def _fitted(image: Image.Image, size: tuple[int, int], fit: Fit, resampling: Image.Resampling) -> Image.Image:
    """Crop, pad or squash a picture to a size.

    Crop the largest part of that shape in the middle, pad to the shape, or squash the whole.
    """
    if fit == "crop":
        return ImageOps.fit(image, size, resampling)
    if fit == "squash":
        return image.resize(size, resampling)
    scale = min(size[0] / image.width, size[1] / image.height)
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = Image.new(image.mode, size, GREY_PADDING if image.mode == "L" else PADDING)
    whole = image.resize((width, height), resampling)
    canvas.paste(whole, ((size[0] - width) // 2, (size[1] - height) // 2))
    return canvas


def _flat(image: Image.Image, mode: str | None, longest: int | None = None) -> tuple[Image.Image, dict[str, Any]]:
    """Convert a picture to ``mode`` without transparency; list the steps.

    ``mode`` is by default L or RGB. No side is longer than ``longest`` pixels. Transparency is replaced by paper.
    """
    done = {"exif_orientation": image.info[TURNED]} if TURNED in image.info else {}
    flat = _shrunk(image, longest)
    if flat.mode == "RGBA":
        paper = _paper_under(flat)
        done["transparent_on"] = paper
        flat = Image.alpha_composite(Image.new("RGBA", flat.size, paper), flat).convert("RGB")
    return flat if mode is None else _as(flat, mode), done


def _as(image: Image.Image, mode: str) -> Image.Image:
    """Convert to a mode; returns the image itself if unchanged."""
    return image if image.mode == mode else image.convert(mode)


def _shrunk(image: Image.Image, longest: int | None) -> Image.Image:
    if longest is None or max(image.size) <= longest:
        return image
    size = [max(1, round(side * longest / max(image.size))) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BOX, reducing_gap=2)


def _paper_under(image: Image.Image) -> Literal["white", "black"]:
    """Choose the background under transparent pixels.

    White for dark ink, black for light ink.
    """
    grey, alpha = np.asarray(image.convert("L"), np.float64), np.asarray(image.getchannel("A"), np.float64)
    return "white" if (grey * alpha).sum() / max(alpha.sum(), 1.0) < 128 else "black"


def _sent_size(image: Image.Image) -> list[int]:
    """Return width and height before ``decode`` downscaled the image."""
    return list(image.info.get(SENT_SIZE, image.size))
