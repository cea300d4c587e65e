"""Draw a contact sheet: the first images of the first classes.

Each row is a class with its number and its name. Names that the font cannot render are omitted; it has Latin, Greek,
Cyrillic and Devanagari.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.artifacts.dataset_files import StoredImage
from core.imaging.decoding import decode
from core.imaging.idx_format import FILES, header_bytes, shape_of
from core.imaging.preparation import fit_photo
from service.datasets.versions import DatasetCard

ROWS, COLUMNS = 8, 8
SIDE, GAP, NAMES = 112, 8, 200  # pixels: of an image, between them, of the column with the names
FONT = 18
PAPER, INK = (255, 255, 255), (32, 32, 32)


@dataclass(frozen=True)
class Files:
    """The images of a version that are shown, with the paths of their files."""

    images: Sequence[StoredImage]
    path: Callable[[str], Path]

    def of_class(self, label: str) -> Iterator[Path]:
        return (self.path(one.digest) for one in self.images if one.label == label and one.part == "train")

    def named(self, file: str) -> Path:
        return next(self.path(one.digest) for one in self.images if one.file == file)


def shown(card: DatasetCard) -> list[tuple[str, str]]:
    """List the classes and parts whose images ``draw`` needs."""
    return [("", "")] if card.layout == "idx" else [(label, "train") for label in _labels(card)]


def _labels(card: DatasetCard) -> list[str]:
    return [label for label, count in card.classes.items() if count["train"]][:ROWS]


def draw(card: DatasetCard, files: Files, max_pixels: int) -> bytes:
    """Return the contact sheet as a PNG."""
    labels = _labels(card)
    size = (NAMES + COLUMNS * (SIDE + GAP) + GAP, len(labels) * (SIDE + GAP) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(sheet), _font()
    for row, label in enumerate(labels):
        top = GAP + row * (SIDE + GAP)
        pen.text((GAP, top + SIDE / 2), _row_name(row + 1, label, font), INK, font, "lm")
        found = _of_idx(files, int(label)) if card.layout == "idx" else _of_files(files, label, max_pixels)
        for column, image in enumerate(found):
            sheet.paste(image.resize((SIDE, SIDE)), (NAMES + column * (SIDE + GAP), top))
    return _png(sheet)


def thumbnail(file: Path, max_pixels: int) -> bytes:
    """Return a small picture of an image as a PNG."""
    return _png(_read(file, max_pixels).resize((SIDE, SIDE)))


def _png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def _read(file: Path, max_pixels: int) -> Image.Image:
    return Image.fromarray(fit_photo(decode(file.read_bytes(), max_pixels)))


def _font() -> ImageFont.FreeTypeFont:
    import fontpkg  # at the first sheet: it looks through all installed packages

    return ImageFont.truetype(fontpkg.path("Noto Sans"), FONT)


def _row_name(number: int, label: str, font: ImageFont.FreeTypeFont) -> str:
    missing = _shape("\uffff", font)  # which no font has: a box, as of all that this one does not have
    if any(_shape(character, font) == missing for character in label):
        return str(number)
    return _shortened(f"{number}  {label}", font)


def _shape(text: str, font: ImageFont.FreeTypeFont) -> bytes:
    return bytes(font.getmask(text))


def _shortened(name: str, font: ImageFont.FreeTypeFont) -> str:
    if font.getlength(name) <= NAMES - 2 * GAP:
        return name
    fits = next(end for end in range(len(name), -1, -1) if font.getlength(f"{name[:end]}...") <= NAMES - 2 * GAP)
    return f"{name[:fits]}..."


def _of_files(files: Files, label: str, max_pixels: int) -> list[Image.Image]:
    return [_read(file, max_pixels) for file in islice(files.of_class(label), COLUMNS)]


def _of_idx(files: Files, label: int) -> list[Image.Image]:
    path = files.named(FILES[0])
    with path.open("rb") as content:
        shape = shape_of(content.read(header_bytes(3)), 3)
    assert shape is not None  # checked when it came
    images = np.memmap(path, np.uint8, "r", header_bytes(3), shape)
    labels = np.memmap(files.named(FILES[1]), np.uint8, "r", header_bytes(1))
    return [Image.fromarray(np.array(images[index])) for index in islice(np.flatnonzero(labels == label), COLUMNS)]
