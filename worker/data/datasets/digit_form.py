"""Whether one's own images are MNIST's, or were made as those: then they are prepared as digits are."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.errors import InvalidInput
from core.imaging.digits.mnist_format import has_digit_form
from core.imaging.preparation import Pixels, decode, preprocess_digit

Indices = npt.NDArray[np.int64]

DIGITS = tuple("0123456789")
SHARE = 0.99  # of the images that must have the form: no photo or piece of clothing has it often
SAMPLE = 1_000  # images that are looked at, from all over the set


def are_digits(classes: Sequence[str], images: Iterable[Pixels]) -> bool:
    """``images``: some of them, h x w x 1 each. They are not looked at where the classes already tell."""
    if tuple(classes) != DIGITS:
        return False
    found = [has_digit_form(image[..., 0]) for image in images]
    return bool(found) and sum(found) >= SHARE * len(found)


def spread(count: int) -> Indices:
    """Places of the sample among so many."""
    return np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)


def read(path: str, max_pixels: int) -> Pixels | str:
    """A file as the canonical digit; or what is wrong with the file, by its name."""
    try:
        return preprocess_digit(np.asarray(decode(Path(path).read_bytes(), max_pixels).convert("L"))).pixels
    except InvalidInput as error:
        return f"{path}: {error}"
    except OSError as error:
        return f"{path}: {error.strerror or error}."


def read_as_it_is(path: str, max_pixels: int) -> Pixels:
    """Its grey levels; a black pixel where that cannot be: loading the data set names such files."""
    try:
        return np.asarray(decode(Path(path).read_bytes(), max_pixels).convert("L"))[..., None]
    except (InvalidInput, OSError):
        return np.zeros((1, 1, 1), np.uint8)
