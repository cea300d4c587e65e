"""A contact sheet: the first images of the first classes, a row each with its number and its name. A name that the font
has no glyphs for (it has those of Latin, Greek, Cyrillic and Devanagari) is left out: boxes would tell less.
"""

import io
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.imaging.decoding import decode
from core.imaging.idx_format import FILES, header_bytes, shape_of
from core.imaging.preparation import fit_photo
from service.datasets.registry import DatasetCard

ROWS, COLUMNS = 8, 8
SIDE, GAP, NAMES = 112, 8, 200  # pixels: of an image, between them, of the column with the names
FONT = 18
PAPER, INK = (255, 255, 255), (32, 32, 32)


def draw(card: DatasetCard, folder: Path, max_pixels: int) -> bytes:
    """Return the contact sheet as a PNG."""
    labels = [label for label, count in card.classes.items() if count["train"]][:ROWS]
    size = (NAMES + COLUMNS * (SIDE + GAP) + GAP, len(labels) * (SIDE + GAP) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(sheet), _font()
    for row, label in enumerate(labels):
        top = GAP + row * (SIDE + GAP)
        pen.text((GAP, top + SIDE / 2), _row_name(row + 1, label, font), INK, font, "lm")
        found = _of_idx(folder, int(label)) if card.layout == "idx" else _of_files(folder, label, max_pixels)
        for column, image in enumerate(found):
            sheet.paste(image.resize((SIDE, SIDE)), (NAMES + column * (SIDE + GAP), top))
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()


def _font() -> ImageFont.FreeTypeFont:
    import fontpkg  # when the first sheet is asked for: it looks through all installed packages

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


def _of_files(folder: Path, label: str, max_pixels: int) -> list[Image.Image]:
    files = sorted((folder / "train" / label).iterdir())[:COLUMNS]
    return [Image.fromarray(fit_photo(decode(file.read_bytes(), max_pixels))) for file in files]


def _of_idx(folder: Path, label: int) -> list[Image.Image]:
    path = folder / FILES[0]
    with path.open("rb") as content:
        shape = shape_of(content.read(header_bytes(3)), 3)
    assert shape is not None  # checked when it came
    images = np.memmap(path, np.uint8, "r", header_bytes(3), shape)
    labels = np.memmap(folder / FILES[1], np.uint8, "r", header_bytes(1))
    return [Image.fromarray(np.array(images[index])) for index in islice(np.flatnonzero(labels == label), COLUMNS)]
