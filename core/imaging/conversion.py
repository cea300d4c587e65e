"""Convert decoded pictures to L, RGB or RGBA in sRGB; shrink large ones."""

import io
from collections.abc import Callable

from PIL import Image, ImageCms, ImageFile

from core.imaging.deep_samples import choose_levels, samples_of, to_8_bits
from core.imaging.strips import STRIP_PIXELS, strips

MIN_SIDE = 512  # a picture is not scaled down below so many pixels a side while it is decoded
MAX_PROFILE_BYTES = 2**20  # a camera's takes less than 4 KiB


def to_plain_mode(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
    """Convert to L, RGB or RGBA, and shrink large pictures.

    A large picture is shrunk by a whole factor such that no side gets shorter than MIN_SIDE.
    """
    convert = _conversion(image, data)
    factor = max(1, min(image.size) // MIN_SIDE)
    if factor == 1 and image.width * image.height <= STRIP_PIXELS:
        picture = convert(image)
    else:
        picture = _in_strips(image, convert, factor)
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255):
        return picture.convert("RGB")
    return picture


def _conversion(image: ImageFile.ImageFile, data: bytes) -> Callable[[Image.Image], Image.Image]:
    """Choose how each strip of a picture is converted."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        levels = choose_levels(image, data)
        return lambda strip: Image.fromarray(to_8_bits(samples_of(strip), levels))
    if image.mode in ("RGBA", "LA", "PA") or (image.mode == "P" and "transparency" in image.info):
        return lambda strip: _as(strip, "RGBA")
    image.info.pop("transparency", None)  # one colour that stands for transparency: it is the paper's own
    mode = "L" if image.mode in ("L", "1") else "RGB"
    return lambda strip: _as(strip, mode)


def _as(image: Image.Image, mode: str) -> Image.Image:
    """Convert to a mode; returns the image itself if unchanged."""
    return image if image.mode == mode else image.convert(mode)


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image], factor: int) -> Image.Image:
    reduced = [convert(strip).reduce(factor) for strip in strips(image, factor)]
    picture = Image.new(reduced[0].mode, (reduced[0].width, sum(strip.height for strip in reduced)))
    top = 0
    for strip in reduced:
        picture.paste(strip, (0, top))
        top += strip.height
    return picture


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert colours to sRGB by the file's ICC profile.

    A profile that is damaged, too large or of another kind counts as none. A large picture, which no longer is the
    decoder's, is converted in its place: there may be no room for another.
    """
    if not profile or len(profile) > MAX_PROFILE_BYTES or picture.mode == "L":
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != "RGB " or "sRGB" in (source.profile.profile_description or ""):
            return picture
        is_large = picture.width * picture.height > STRIP_PIXELS
        usual = ImageCms.createProfile("sRGB")
        found = ImageCms.profileToProfile(picture, source, usual, outputMode=picture.mode, inPlace=is_large)
    except (ImageCms.PyCMSError, OSError):
        return picture
    return picture if found is None else found
