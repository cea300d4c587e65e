"""Decode image files to upright 8-bit pictures, within bounds of memory and time.

The bounds are checked by the file's header. A large picture is scaled down as it is converted, in strips: what decoding
holds at a time is what the decoder itself needs, about ``bytes_needed``.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from core.errors import NotAnImage, TooLarge
from core.imaging import file_formats
from core.imaging.conversion import MIN_SIDE, to_plain_mode, to_srgb
from core.imaging.deep_samples import has_16_bit_colours, spread_narrow_colours

SMALL_FILE, SMALL_PIXELS = 2**19, 2**20  # what is decoded in milliseconds
SMALL_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")  # the others can take long for few pixels
# Pillow's other readers fail in other ways, or run programs
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
NAMES = "PNG, JPEG, GIF, BMP, TIFF, WebP, AVIF, HEIC"
# what a decoder holds for each pixel, in bytes (measured on 20 million pixels); for others, of its mode
DECODER_BYTES = {"WEBP": 16, "AVIF": 12, "HEIF": 12}
MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}  # else 4
PROGRESSIVE_BYTES = 8  # for each pixel of a JPEG that is decoded in several scans: its coefficients
MAX_BYTES_PER_PIXEL = 12  # times max_pixels: the memory that one picture may take
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
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError, RuntimeError)
# Pillow warns about large and damaged images, which raise errors here. The filter is set for the whole process: setting
# it for each image takes as long as opening the image, and is not thread-safe
warnings.filterwarnings("ignore", module=r"PIL\.")


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
    if has_16_bit_colours(image):
        of_each *= 2  # the upper and the lower bytes
    if image.format in ("JPEG", "MPO") and file_formats.is_progressive(data):
        of_each += PROGRESSIVE_BYTES
    return image.width * image.height * of_each


def _load(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
    sent = image.size
    image.draft(None, (MIN_SIDE, MIN_SIDE))  # a JPEG at 1/2, 1/4 or 1/8 of its size
    deep = has_16_bit_colours(image)
    image.load()
    if deep:
        spread_narrow_colours(image, data)
    orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    picture = to_srgb(to_plain_mode(image, data), image.info.get("icc_profile"))
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
