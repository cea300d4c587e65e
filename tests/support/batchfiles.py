"""Build request bodies for batches of predictions and read their answers."""

import base64
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from core.artifacts.batch_files import Part, read_answers, write_parts
from core.artifacts.store import ArtifactStore
from core.imaging.preparation import encode_png, preprocess_digit
from core.repositories.batch_predictions import key_of
from tests.conftest import DIGIT_FILES

DIGITS = {f"{digit}.png": file.read_bytes() for digit, file in enumerate(DIGIT_FILES)}
OPTIONS = {"model": None, "top_k": 1, "preprocess": "auto"}


def digits(count: int) -> dict[str, bytes]:
    """Make images by name.

    The class of each is its number's last digit.
    """
    return {f"{number:04d}.png": small(number % 10) for number in range(count)}


@cache
def small(digit: int) -> bytes:
    """Make a digit's PNG in MNIST's form.

    That takes little time to read.
    """
    with Image.open(DIGIT_FILES[digit]) as image:
        return encode_png(preprocess_digit(np.asarray(image.convert("L"))).pixels)


def zip_of(files: Mapping[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda _entry: None) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for entry in archive.infolist():
            change(entry)
    return data.getvalue()


def encrypt(entry: zipfile.ZipInfo) -> None:
    """Mark a zip's entry as having a password."""
    entry.flag_bits |= 1


def line(**fields: Any) -> str:
    return json.dumps(fields)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def lay(store: ArtifactStore, batch_id: str, *files: tuple[Part, bytes]) -> None:
    """Store a batch's files and their list, as the service does."""
    for part, data in files:
        store.put(f"{key_of(batch_id)}/{part.file}", data)
    write_parts(store, key_of(batch_id), [part for part, _ in files])


def answers(store: ArtifactStore, batch_id: str, done: int) -> list[dict[str, Any]]:
    text = b"".join(read_answers(store, key_of(batch_id), done))
    return [json.loads(found) for found in text.splitlines()]
