"""core.imaging.decoding: bounded files, harmless damage, samples beyond 8 bits."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from core.errors import NotAnImage, TooLarge
from core.imaging import file_formats
from core.imaging.decoding import SENT_SIZE, decode, decode_small
from core.imaging.preparation import prepare, to_grey
from tests import ROOT
from tests.support.fakes import DIGIT_PREPARATION
from tests.support.imagefiles import file_of, in_many_scans, photo, seven, swapped_profile

PLENTY = 50_000_000
PEAK = """
import sys
from core.imaging.decoding import bytes_needed, decode

def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024

for path in sys.argv[1:]:
    data, before = open(path, "rb").read(), peak()
    decode(data, 50_000_000)
    print(peak() - before, bytes_needed(data, 50_000_000))
"""


def chunk(name: bytes, content: bytes, checksum: int = 0) -> bytes:
    right = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", right ^ checksum)


def with_chunk(png: bytes, added: bytes, before: bytes = b"IDAT") -> bytes:
    place = png.index(before) - 4
    return png[:place] + added + png[place:]


def same(data: bytes, image: Image.Image) -> bool:
    return decode(data, PLENTY).tobytes() == image.tobytes()


# -- bounds


def test_a_jpeg_in_1500_scans_is_refused_before_it_is_decoded() -> None:
    for read in (decode, decode_small):
        with pytest.raises(TooLarge, match="more than 64 scans"):
            read(in_many_scans(1_500), PLENTY)
    assert decode(in_many_scans(40), PLENTY).size == seven().size


def test_what_looks_like_scans_in_a_profile_or_behind_the_picture_does_not_count() -> None:
    data = file_of(photo(), "JPEG")
    comment = b"\xff\xfe\x7f\xff" + file_formats.START_OF_SCAN * ((0x7FFF - 2) // 2) + b"\0"
    assert same(data[:2] + comment + data[2:] + file_formats.START_OF_SCAN * 100, decode(data, PLENTY))


def test_wide_samples_and_opacity_take_no_more_memory_than_their_decoder(tmp_path: Path) -> None:
    """Wide samples and opacity take no more memory than their decoder.

    The figures are bytes for each of ten million pixels: once 27 of a PNG in 16 bits, 46 of a TIFF of floats.
    """
    size = (4000, 2500)
    clear = Image.new("LA", size)
    palette = Image.new("P", size)
    files = {
        "deep.png": file_of(Image.fromarray(np.full(size[::-1], 3_000, np.uint16))),
        "floats.tif": file_of(Image.fromarray(np.full(size[::-1], 0.5, np.float32)), "TIFF", compression="tiff_lzw"),
        "clear.png": file_of(clear),
        "palette.png": file_of(palette, transparency=0),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in files]
    ran = subprocess.run([sys.executable, "-c", PEAK, *paths], cwd=ROOT, capture_output=True, text=True, check=True)
    for name, line in zip(files, ran.stdout.splitlines(), strict=True):
        grown, needed = map(int, line.split())
        assert grown < needed + 64 * 2**20, name


@pytest.mark.parametrize(("file_format", "share"), [("WEBP", 0.75), ("PNG", 1.0), ("TIFF", 1.0)])
def test_a_format_whose_decoder_holds_more_may_have_fewer_pixels(file_format: str, share: float) -> None:
    data = file_of(photo(100, 100), file_format)
    assert decode(data, round(100 * 100 / share) + 1).size == (100, 100)
    with pytest.raises(TooLarge, match="100x100"):
        decode(data, round(100 * 100 / share) - 1)


def test_a_large_picture_is_read_at_a_fraction_of_its_size_and_tells_its_own() -> None:
    image = photo(3200, 2400)
    for data in (file_of(image, "BMP"), file_of(image, "TIFF"), file_of(image, compress_level=1)):
        read = decode(data, PLENTY)
        assert read.size == (800, 600)
        np.testing.assert_array_equal(np.asarray(read), np.asarray(image.reduce(4)))
        assert read.info[SENT_SIZE] == (3200, 2400)


def test_a_large_photo_that_was_turned_tells_its_upright_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    read = decode(file_of(photo(1601, 1100).rotate(90, expand=True), compress_level=1, exif=exif), PLENTY)
    assert (read.size, read.info[SENT_SIZE]) == ((801, 550), (1601, 1100))


def test_only_small_pictures_are_decoded_at_once() -> None:
    small = file_of(photo())
    picture = decode_small(small, PLENTY)
    assert picture is not None
    assert picture.tobytes() == photo().tobytes()
    many_pixels, many_bytes = file_of(Image.new("L", (1025, 1024))), small + bytes(2**19)
    slow_kind, damaged = file_of(photo(), "TIFF"), file_of(photo(), "JPEG")[:-2]
    for data in (many_pixels, many_bytes, slow_kind, damaged):
        assert decode_small(data, PLENTY) is None
        assert decode(data, PLENTY)
    with pytest.raises(NotAnImage):
        decode_small(b"this is no image", PLENTY)


# -- colours


def test_colours_are_those_of_the_files_profile() -> None:
    profile = swapped_profile()
    for mode, ink, wanted in (("RGB", (255, 0, 0), (0, 255, 0)), ("RGBA", (255, 0, 0, 77), (0, 255, 0, 77))):
        for file_format in ("PNG", "WEBP", "TIFF"):
            data = file_of(Image.new(mode, (8, 8), ink), file_format, icc_profile=profile, lossless=True)
            assert decode(data, PLENTY).getpixel((3, 3)) == wanted, (mode, file_format)
    large = decode(file_of(Image.new("RGB", (1000, 1200), (255, 0, 0)), icc_profile=profile), PLENTY)
    assert large.getcolors() == [(1_200_000, (0, 255, 0))]
    grey = Image.new("L", (8, 8), 100)
    assert same(file_of(grey, icc_profile=profile), grey)
    assert same(file_of(photo(), icc_profile=profile[:200]), photo())
    assert same(
        file_of(photo(), icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()), photo()
    )


# -- damage that costs no pixels


def test_png_with_megabytes_of_metadata_is_read(shared: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "<x>" + "ab" * 2**20 + "</x>", zip=True)
    assert same(file_of(photo(), pnginfo=text), photo())
    assert same(file_of(photo(), icc_profile=bytes(2**21)), photo())
    for file in (shared / "cases" / "png-metadata").glob("*.png"):
        assert decode(file.read_bytes(), PLENTY)


def test_a_png_with_a_wrong_checksum_is_read_unless_pixels_may_be_wrong() -> None:
    data = file_of(seven())
    for name in (b"tEXt", b"gAMA", b"tRNS", b"prVt"):
        assert same(with_chunk(data, chunk(name, b"\0\0\0\1", checksum=1)), seven()), name
        assert same(with_chunk(data, chunk(name, b"\0\0\0\1", checksum=1), b"IEND"), seven()), name
    pixels = data.index(b"IDAT") + 40
    for damaged in (data[:pixels] + bytes([data[pixels] ^ 1]) + data[pixels + 1 :], data[: len(data) // 2]):
        with pytest.raises(NotAnImage):
            decode(damaged, PLENTY)


def test_what_a_damaged_png_says_of_its_orientation_still_holds() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = file_of(photo().rotate(90, expand=True), exif=exif)
    assert same(with_chunk(turned, chunk(b"tEXt", b"a\0b", checksum=1)), photo())


def test_a_jpeg_without_its_end_marker_is_read_and_one_that_lacks_more_is_not() -> None:
    paper = Image.new("L", (300, 300), 255)
    paper.paste(0, (50, 50, 60, 200))
    forms: list[dict[str, Any]] = [{}, {"progressive": True}, {"restart_marker_blocks": 4}, {"optimize": True}]
    for image in (seven(), photo(), paper):
        for form in forms:
            data = file_of(image, "JPEG", **form)
            whole = decode(data, PLENTY)
            for ended in (data[:-2], data[:-1], data[:-2] + bytes(100)):
                assert same(ended, whole), (image, form)
            cuts = [data[: len(data) * eighths // 8] for eighths in range(4, 8)]
            # a progressive one that ends between two scans is a coarser picture, and whole
            assert form == {"progressive": True} or not any(map(is_read, cuts)), (image, form)


def is_read(data: bytes) -> bool:
    try:
        decode(data, PLENTY)
    except NotAnImage:
        return False
    return True


# -- the formats of phones


def test_heic_and_avif_are_read() -> None:
    small = seven().resize((64, 64))
    for data in ((ROOT / "tests/support/seven.heic").read_bytes(), file_of(small, "AVIF", quality=60)):
        read = decode(data, PLENTY)
        assert read.size == (64, 64)
        assert np.abs(np.asarray(read.convert("L")).astype(int) - np.asarray(small)).mean() < 4
        with pytest.raises(NotAnImage):
            decode(data[: len(data) // 2], PLENTY)
        with pytest.raises(TooLarge):
            decode(data, 64 * 64 - 1)


# -- samples of more than 8 bits


def deep(white: int, kind: type = np.uint16) -> npt.NDArray[Any]:
    """A seven on paper of that white."""
    return (np.asarray(seven()).astype(np.float64) * white / 255).round().astype(kind)


def shows_seven(data: bytes) -> bool:
    levels = np.asarray(decode(data, PLENTY)).astype(int)
    return bool(np.abs(levels - np.asarray(seven())).max() <= 1)


def test_samples_of_10_and_12_bits_in_16_are_scaled_by_what_they_hold() -> None:
    for white in (255, 1023, 4095, 65535):
        for file_format in ("PNG", "TIFF"):
            assert shows_seven(file_of(Image.fromarray(deep(white)), file_format)), (white, file_format)


def colours_in_16_bits(picture: Image.Image, white: int) -> bytes:
    """A PNG that Pillow cannot write."""
    values = (np.asarray(picture).astype(np.float64) * white / 255).round().astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 16, 2, 0, 0, 0)
    return file_formats.PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_colours_of_10_and_12_bits_in_16_are_scaled_by_what_they_hold_or_by_their_tag() -> None:
    picture = photo()
    for white in (255, 1023, 4095, 65535):
        read = np.asarray(decode(colours_in_16_bits(picture, white), PLENTY)).astype(int)
        assert np.abs(read - np.asarray(picture)).max() <= 1, white
    dark = with_chunk(colours_in_16_bits(picture, 4095), chunk(b"sBIT", bytes([16, 16, 16])))
    assert np.asarray(decode(dark, PLENTY)).max() == 16
    large = photo(1600, 1100)
    read = np.asarray(decode(colours_in_16_bits(large, 1023), PLENTY)).astype(int)
    assert np.abs(read - np.asarray(large.reduce(2))).max() <= 1


def test_a_tag_says_what_white_is_where_the_values_do_not() -> None:
    dim = deep(300)  # as an underexposed sheet
    levels = {}
    for bits in (None, 10, 12, 16):
        data = file_of(Image.fromarray(dim))
        tagged = with_chunk(data, chunk(b"sBIT", bytes([bits]))) if bits else data
        levels[bits] = int(np.asarray(decode(tagged, PLENTY)).max())
    assert levels == {None: 75, 10: 75, 12: 19, 16: 1}
    tiff = file_of(Image.fromarray(dim), "TIFF", tiffinfo={281: 600})
    assert np.asarray(decode(tiff, PLENTY)).max() == 128
    too_low = file_of(Image.fromarray(dim), "TIFF", tiffinfo={281: 100})
    assert np.asarray(decode(too_low, PLENTY)).max() == 75


def test_a_digit_in_16_bits_is_the_same_digit_in_training_and_in_an_answer() -> None:
    data = file_of(Image.fromarray(deep(4095)))
    assert np.abs(to_grey(decode(data, PLENTY)).astype(int) - np.asarray(seven())).max() <= 1


# -- a colour that stands for transparency


@pytest.mark.parametrize(("paper", "ink"), [(255, 200), (0, 60), (255, 0), (0, 255)])
def test_a_transparent_colour_tells_the_paper(paper: int, ink: int) -> None:
    picture = Image.new("L", (200, 160), paper)
    picture.paste(ink, (80, 30, 95, 130))
    plain = prepare(decode(file_of(picture), PLENTY), DIGIT_PREPARATION)
    for image, key in ((picture, paper), (picture.convert("RGB"), (paper,) * 3)):
        keyed = prepare(decode(file_of(image, transparency=key), PLENTY), DIGIT_PREPARATION)
        np.testing.assert_array_equal(keyed.pixels, plain.pixels)
        assert keyed.preprocessing["inverted"] == (paper > ink)
