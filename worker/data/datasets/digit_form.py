"""Detection of user images in MNIST's form, which are preprocessed as digits."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.errors import InvalidInput
from core.imaging.decoding import decode
from core.imaging.digits.mnist_format import has_digit_form
from core.imaging.preparation import Pixels, preprocess_digit, to_grey

Indices = npt.NDArray[np.int64]

DIGITS = tuple("0123456789")
SHARE = 0.99  # of the checked images that must have the form: photos and clothes rarely have it
SAMPLE = 1_000  # images that are checked, spread over the data set


def are_digits(classes: Sequence[str], images: Iterable[Pixels]) -> bool:
    """Check whether classes and a sample of images are digits.

    The images are h x w x 1 each, and are not read if the classes are not 0 to 9.
    """
    if tuple(classes) != DIGITS:
        return False
    found = [has_digit_form(image[..., 0]) for image in images]
    return bool(found) and sum(found) >= SHARE * len(found)


def spread(count: int) -> Indices:
    """Return the indices of a sample, spread over ``count`` images."""
    return np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)


def read(path: str, max_pixels: int) -> Pixels | str:
    """Read a file as the canonical digit, or return the problem.

    The problem is a sentence with the file's name.
    """
    try:
        return preprocess_digit(to_grey(decode(Path(path).read_bytes(), max_pixels))).pixels
    except InvalidInput as error:
        return f"{path}: {error}"
    except OSError as error:
        return f"{path}: {error.strerror or error}."


def read_as_it_is(path: str, max_pixels: int) -> Pixels:
    """Read a file's grey levels.

    One black pixel if it is unreadable, which loading reports later.
    """
    try:
        return to_grey(decode(Path(path).read_bytes(), max_pixels))[..., None]
    except (InvalidInput, OSError):
        return np.zeros((1, 1, 1), np.uint8)
