"""Write small photos into files, each unlike the others.

Data sets that stay in their files have such photos.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from core.imaging.preparation import Pixels
from worker.data.photo_files import Facts, Photo, PhotoForm, Photos, examine, read

PLENTY = 1_000_000  # pixels
FORM = PhotoForm()


def write_photos(folder: Path, count: int) -> list[str]:
    """Write JPEG and PNG files in turn, no two alike.

    They are of noise in coarse blocks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(folder / f"{number:03d}.{('jpg', 'png')[number % 2]}") for number in range(count)]
    for number, path in enumerate(paths):
        blocks = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(blocks).resize((48, 36), Image.Resampling.NEAREST).save(path)
    return paths


def photos_of(paths: list[str], processes: int = 1) -> Photos:
    facts = [fact for path in paths if isinstance(fact := examine(path, FORM, PLENTY), Facts)]
    return Photos(
        paths=np.array(paths, dtype=object),
        moments=np.stack([fact.moments for fact in facts]),
        form=FORM,
        max_pixels=PLENTY,
        processes=processes,
    )


def pixels_of(path: str, form: PhotoForm = FORM) -> Pixels:
    """Read the canonical photo in a file."""
    photo = read(path, form, PLENTY)
    assert isinstance(photo, Photo), photo
    return photo.pixels
