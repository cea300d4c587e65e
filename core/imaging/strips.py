"""Cut a picture into strips, which are converted one at a time."""

from collections.abc import Iterator

from PIL import Image

STRIP_PIXELS = 2**20  # converted at a time


def strips(image: Image.Image, multiple: int = 1) -> Iterator[Image.Image]:
    """Cut a picture into strips of its full width.

    The height of each but the last is a multiple of ``multiple``.
    """
    rows = max(1, STRIP_PIXELS // (image.width * multiple)) * multiple
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(image.height, top + rows)))
