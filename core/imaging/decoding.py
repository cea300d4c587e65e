"""Decode image files to upright 8-bit pictures, within bounds.

The bounds are those of memory and time.

The bounds are checked by the file's header. A large picture is scaled down as it is converted, in strips: what decoding
holds at a time is what the decoder itself needs, about ``bytes_needed``.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, ImageFile, TiffImagePlugin, UnidentifiedImageError

from core.errors import NotAnImage, TooLarge
from core.imaging import file_formats

MIN_SIDE = 512  # a picture is not scaled down below so many pixels a side while it is decoded
SMALL_FILE, SMALL_PIXELS = 2**19, 2**20  # what is decoded in milliseconds
SMALL_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")  # the others can take long for few pixels
STRIP_PIXELS = 2**20  # converted at a time
# Pillow's other readers fail in other ways, or run programs
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
NAMES = "PNG, JPEG, GIF, BMP, TIFF, WebP, AVIF, HEIC"
# what a decoder holds for each pixel, in bytes (measured on 20 million pixels); for others, of its mode
DECODER_BYTES = {"WEBP": 16, "AVIF": 12, "HEIF": 12}
MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}  # else 4
PROGRESSIVE_BYTES = 8  # for each pixel of a JPEG that is decoded in several scans: its coefficients
MAX_BYTES_PER_PIXEL = 12  # times max_pixels: the memory that one picture may take
MAX_PROFILE_BYTES = 2**20  # a camera's takes less than 4 KiB
SENT_SIZE = "tuneserve_sent_size"  # in Image.info: width and height, upright, before scaling down
TURNED = "tuneserve_turned"  # in Image.info: the original EXIF orientation, if it was not upright
UPRIGHT = 1  # EXIF orientation
TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = 5  # and above: width and height change places
WHITES = (255, 1023, 4095, 65535)  # in 8, 10, 12 and 16 bits
MAX_SAMPLE_VALUE, BITS_PER_SAMPLE = 281, 258  # TIFF's tags
DEEP_COLOURS, SWAPPED = "RGB;16B", "RGB;16L"  # Pillow's names of the order of bytes in a sample
TINY_SPAN = 1e-6
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError, RuntimeError)
# Pillow warns about large and damaged images, which raise errors here. The filter is set for the whole process: setting
# it for each image takes as long as opening the image, and is not thread-safe
warnings.filterwarnings("ignore", module=r"PIL\.")


class Levels(NamedTuple):
    """The values shown as black and as white."""

    black: float
    white: float


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Decode a file to an upright picture in L, RGB or RGBA.

    Raises NotAnImage or TooLarge only.
    """
    with _refusals():
        try:
            return _load(_open(data, max_pixels), data)
        except UNREADABLE as error:
            if isinstance(error, TooLarge) or (mended := _decode_damaged(data, max_pixels)) is None:
                raise
            return mended


def decode_small(data: bytes, max_pixels: int) -> Image.Image | None:
    """Decode a picture if that takes milliseconds and few MB.

    None if it does not, or if the file is damaged.
    """
    with _refusals():
        if len(data) > SMALL_FILE:
            return None
        try:
            image = _open(data, max_pixels)
            if image.width * image.height > SMALL_PIXELS or image.format not in SMALL_FORMATS:
                return None
            return _load(image, data)
        except UNREADABLE as error:
            if isinstance(error, TooLarge) or not data.startswith((file_formats.PNG, file_formats.JPEG)):
                raise
            return None


def bytes_needed(data: bytes, max_pixels: int) -> int:
    """Estimate the memory for decoding a file by its header.

    Raises as ``decode`` does.
    """
    with _refusals():
        try:
            return _bytes_needed(_open(data, max_pixels), data)
        except UNREADABLE as error:
            if isinstance(error, TooLarge) or not data.startswith(file_formats.PNG):
                raise
            mended = file_formats.essential_png(data)
            return _bytes_needed(_open(mended, max_pixels), mended)


def upright_size(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Read a picture's upright width and height from its file's header.

    Upright is as it is shown. Raises as ``decode`` does.
    """
    with _refusals():
        image = _open(data, max_pixels)
        sideways = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT) >= SIDEWAYS
        return image.size[::-1] if sideways else image.size


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (NotAnImage, TooLarge):  # ValueErrors too
        raise
    except Image.DecompressionBombError as error:
        raise TooLarge(f"The image is too large: {error}") from error
    except UnidentifiedImageError as error:
        raise NotAnImage(f"This is not an image in a known format ({NAMES}).") from error
    except MemoryError as error:
        raise TooLarge("The image needs too much memory: send a smaller one.") from error
    except UNREADABLE as error:
        raise NotAnImage(f"The image cannot be read: {error}.") from error


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    """Read a file's header, and check the picture's bounds by it."""
    image = Image.open(io.BytesIO(data), formats=_formats(data))
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise TooLarge(f"The image is {image.width}x{image.height}; at most {max_pixels} pixels are allowed.")
    if (needed := _bytes_needed(image, data)) > max_pixels * MAX_BYTES_PER_PIXEL:
        most = max_pixels * MAX_BYTES_PER_PIXEL * pixels // needed
        raise TooLarge(f"A {image.format} of {image.width}x{image.height}; this format allows at most {most} pixels.")
    if image.format in ("JPEG", "MPO") and file_formats.has_too_many_scans(data):
        raise TooLarge(f"The JPEG has more than {file_formats.MAX_SCANS} scans: save it as a baseline JPEG.")
    return image


def _formats(data: bytes) -> tuple[str, ...]:
    if data[4:8] != b"ftyp" or data[8:12] not in HEIF_BRANDS:
        return FORMATS
    import pi_heif  # takes as long to import as a hundred digits to decode

    pi_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


def _bytes_needed(image: ImageFile.ImageFile, data: bytes) -> int:
    of_each = DECODER_BYTES.get(image.format or "") or MODE_BYTES.get(image.mode, 4)
    if _has_16_bit_colours(image):
        of_each *= 2  # the upper and the lower bytes
    if image.format in ("JPEG", "MPO") and file_formats.is_progressive(data):
        of_each += PROGRESSIVE_BYTES
    return image.width * image.height * of_each


def _load(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
    sent = image.size
    image.draft(None, (MIN_SIDE, MIN_SIDE))  # a JPEG at 1/2, 1/4 or 1/8 of its size
    deep = _has_16_bit_colours(image)
    image.load()
    if deep:
        _spread_narrow_colours(image, data)
    orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    picture = _in_srgb(_in_plain_mode(image, data), image.info.get("icc_profile"))
    picture.info = {SENT_SIZE: sent}
    if orientation in TO_UPRIGHT:
        picture = picture.transpose(TO_UPRIGHT[orientation])
        picture.info |= {TURNED: orientation, SENT_SIZE: sent[::-1] if orientation >= SIDEWAYS else sent}
    return picture


def _decode_damaged(data: bytes, max_pixels: int) -> Image.Image | None:
    """Decode a file whose damage costs no pixels.

    None if pixels are missing.
    """
    if data.startswith(file_formats.PNG):
        mended = file_formats.essential_png(data)
        return _load(_open(mended, max_pixels), mended)
    if not data.startswith(file_formats.JPEG):
        return None
    picture, other = (_load(_open(file, max_pixels), file) for file in file_formats.completed(data))
    return picture if picture.tobytes() == other.tobytes() else None


# -- modes


def _in_plain_mode(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
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
        levels = _levels(image, data)
        return lambda strip: Image.fromarray(_in_8_bits(_samples(strip), levels))
    if image.mode in ("RGBA", "LA", "PA") or (image.mode == "P" and "transparency" in image.info):
        return lambda strip: _as(strip, "RGBA")
    image.info.pop("transparency", None)  # one colour that stands for transparency: it is the paper's own
    mode = "L" if image.mode in ("L", "1") else "RGB"
    return lambda strip: _as(strip, mode)


def _as(image: Image.Image, mode: str) -> Image.Image:
    """Convert to a mode; returns the image itself if unchanged."""
    return image if image.mode == mode else image.convert(mode)


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image], factor: int) -> Image.Image:
    reduced = [convert(strip).reduce(factor) for strip in _strips(image, factor)]
    picture = Image.new(reduced[0].mode, (reduced[0].width, sum(strip.height for strip in reduced)))
    top = 0
    for strip in reduced:
        picture.paste(strip, (0, top))
        top += strip.height
    return picture


def _strips(image: Image.Image, multiple: int = 1) -> Iterator[Image.Image]:
    """Cut a picture into strips of its full width.

    The height of each but the last is a multiple of ``multiple``.
    """
    rows = max(1, STRIP_PIXELS // (image.width * multiple)) * multiple
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(image.height, top + rows)))


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
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


# -- samples of more than 8 bits


def _levels(image: ImageFile.ImageFile, data: bytes) -> Levels:
    """Choose the values that become black and white.

    White is that of the file's tag, else the range that its values fit, so that a nearly blank sheet stays blank. The
    ranges are those of 8, 10, 12 and 16 bits; of fractions, 0..1 before them. Values outside all of them are scaled by
    their own minimum and maximum.
    """
    extremes = [(float(values.min()), float(values.max())) for values in map(_samples, _strips(image))]
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    if low < 0:
        return Levels(low, high)
    whites = (_tagged_white(image, data), *((1,) if image.mode == "F" else ()), *WHITES)
    return next((Levels(0, white) for white in whites if white and high <= white), Levels(low, high))


def _has_16_bit_colours(image: ImageFile.ImageFile) -> bool:
    """Check for a PNG with 16 bits in each colour.

    Pillow decodes only the upper byte of each sample.
    """
    return image.format == "PNG" and any(tile.args == DEEP_COLOURS for tile in image.tile)


def _spread_narrow_colours(image: ImageFile.ImageFile, data: bytes) -> None:
    """Scale colours with few bits in 16-bit samples to 8 bits.

    Those have at most 12 bits; their lower bytes are decoded too.
    """
    upper = int(np.max(image.getextrema()))
    if upper > WHITES[-2] >> 8:
        return
    low = Image.open(io.BytesIO(data), formats=("PNG",))
    assert isinstance(low, ImageFile.ImageFile)
    low.tile = [tile._replace(args=SWAPPED) for tile in low.tile]
    low.load()
    high = max(int((_wide(*pair)).max()) for pair in zip(_strips(image), _strips(low), strict=True))
    whites = (_tagged_white(image, data), *WHITES)
    levels = next(Levels(0, white) for white in whites if white and high <= white)
    top = 0
    for pair in zip(_strips(image), _strips(low), strict=True):
        image.paste(Image.fromarray(_in_8_bits(_wide(*pair), levels)), (0, top))
        top += pair[0].height


def _wide(upper: Image.Image, lower: Image.Image) -> npt.NDArray[np.uint16]:
    return np.asarray(upper, np.uint16) * np.uint16(256) + np.asarray(lower, np.uint16)


def _tagged_white(image: ImageFile.ImageFile, data: bytes) -> float | None:
    if image.format == "PNG":
        bits = file_formats.significant_bits(data)
        return 2**bits - 1 if bits else None
    if image.format != "TIFF" or image.mode == "F":
        return None
    bits = _tag(image, BITS_PER_SAMPLE)
    return _tag(image, MAX_SAMPLE_VALUE) or (2**bits - 1 if bits and bits < 16 else None)


def _tag(image: ImageFile.ImageFile, number: int) -> int | None:
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    value = image.tag_v2.get(number)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else None


def _samples(image: Image.Image) -> npt.NDArray[Any]:
    values = np.asarray(image)
    return np.where(np.isfinite(values), values, 0) if values.dtype.kind == "f" else values


def _in_8_bits(values: npt.NDArray[Any], levels: Levels) -> npt.NDArray[np.uint8]:
    scale = 255 / max(levels.white - levels.black, TINY_SPAN)
    return np.asarray(((values - levels.black) * scale).round(), np.uint8)
