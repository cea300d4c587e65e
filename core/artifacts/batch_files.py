"""Files of a batch prediction: the uploaded images, and the results.

Results are stored in objects of several lines each, ``results/<index of the first line>.jsonl``. An object is stored
whole or not at all: a process that dies leaves no partial line, and a repeated chunk overwrites the same object.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.artifacts.store import ArtifactStore
from core.errors import InvalidInput
from core.json_nesting import BOM, refuse_deep

LISTING = "parts.json"
JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")  # added to zips by operating systems


@dataclass(frozen=True)
class Part:
    """One uploaded file."""

    kind: Literal["zip", "image", "manifest"]  # a manifest holds one image a line, in JSON
    file: str  # its name in the batch's folder
    name: str  # its name in the upload; "" if it had none


class Line(BaseModel):
    """One image, as a line of a manifest."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str | int | None = Field(None, description="Your id of the image, repeated in its result.")
    b64: str | None = Field(None, description="Image file in base64.")
    array: list[Any] | None = Field(
        None, max_length=2**15, description="Pixels, [h][w] or [h][w][3], 0 to 255, or fractions 0 to 1."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "Line":
        if (self.b64 is None) == (self.array is None):
            raise ValueError('give exactly one of "b64" and "array"')
        return self


def parse_line(text: bytes) -> Line:
    """Parse a line of a manifest; InvalidInput names the wrong field."""
    try:
        text = text.removeprefix(BOM)
        refuse_deep(text)
        return Line.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(str(step) for step in first["loc"])
        raise InvalidInput(f"{where or 'line'}: {first['msg'].removeprefix('Value error, ')}") from error


def write_parts(store: ArtifactStore, key: str, parts: Sequence[Part]) -> None:
    store.put(f"{key}/{LISTING}", json.dumps([asdict(part) for part in parts]).encode())


def read_parts(store: ArtifactStore, key: str) -> list[Part]:
    return [Part(**part) for part in json.loads(store.fetch(f"{key}/{LISTING}").read_bytes())]


def may_be_an_image(name: str) -> bool:
    """Check whether a zip's entry may be an image by its name.

    Folders are none, nor are files that an operating system adds.
    """
    parts = PurePosixPath(name).parts
    return not name.endswith("/") and not any(part in JUNK or part.startswith("._") for part in parts)


def read_lines(path: Path, max_bytes: int) -> Iterator[bytes]:
    """Yield a manifest's non-blank lines, each cut after ``max_bytes`` + 1.

    The extra byte shows the caller that a line was too long.
    """
    with path.open("rb") as file:
        while line := file.readline(max_bytes + 1):
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(max_bytes + 1)
            if stripped := line.strip():
                yield stripped


def write_answers(store: ArtifactStore, key: str, first: int, lines: Sequence[str]) -> None:
    """Store result lines; ``first`` is the index of the first one."""
    store.put(_answers_key(key, first), "".join(f"{line}\n" for line in lines).encode())


def read_answers(store: ArtifactStore, key: str, done: int) -> Iterator[bytes]:
    """Yield the first ``done`` results of a batch, one a line.

    They come in the chunks in which they were written.
    """
    first = 0
    while first < done:
        piece = store.fetch(_answers_key(key, first)).read_bytes()
        yield piece
        first += piece.count(b"\n")


def _answers_key(key: str, first: int) -> str:
    return f"{key}/results/{first:09d}.jsonl"
