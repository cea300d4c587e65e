"""Calls that classify images, at once or as a batch."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import httpx

from tuneserve.client.connection import Connection, Shape
from tuneserve.client.errors import ServiceError, refusal
from tuneserve.folder_zip import sendable_name
from tuneserve.types import Batch, Embedding, Embeddings, Prediction, Predictions

MAX_IMAGES, MAX_IMAGES_BYTES = 100, 16 * 2**20  # in a request; the service takes 256, and 32 MiB
UNREADABLE_IMAGE = (400, 413, 415, 422)  # statuses of a response to an unreadable image

Image = str | os.PathLike[str] | bytes  # a file's path, or its content


class PredictionCalls(Connection):
    """Classify images."""

    def predict(self, *images: Image, top_k: int = 3, model: str | None = None, neighbours: int = 0) -> Predictions:
        """Classify images, in as many requests as needed.

        The model shown is that of the last request. ``model``: an id, `pets`, `pets/3` or `pets@best`; default: the
        default name. ``neighbours``: how many of the nearest training images to show for each, at most 20.
        """
        params = {"top_k": top_k} | ({"model": model} if model else {})
        params |= {"neighbours": neighbours} if neighbours else {}
        found, answers = self._ask_in_parts(Predictions, "/predict", images, params)
        predictions = [one for answer in answers for one in _predictions(answer)]
        last = found[-1]
        together: Predictions = {"model": last["model"], "predictions": predictions, "timing_ms": _added(found)}
        if "neighbours_among" in last:
            together["neighbours_among"] = last["neighbours_among"]
        return together

    def embed(self, *images: Image, model: str | None = None) -> Embeddings:
        """Return the features of images, in as many requests as needed.

        Those of an image have length 1. ``model`` is that of ``predict``.
        """
        found, answers = self._ask_in_parts(Embeddings, "/embed", images, {"model": model} if model else {})
        embeddings = [one for answer in answers for one in _embeddings(answer)]
        last = found[-1]
        about = {"model": last["model"], "dimension": last["dimension"]}
        return cast(Embeddings, about | {"embeddings": embeddings, "timing_ms": _added(found)})

    def _ask_in_parts(
        self, shape: type[Shape], path: str, images: Sequence[Image], params: dict[str, Any]
    ) -> tuple[list[Shape], list[Shape | ServiceError]]:
        """Send images in as many requests as needed; return the answers, and all with errors.

        Raise the first error if nothing else came.
        """
        answers = [self._ask(shape, path, part, params, len(images) == 1) for part in _parted(images)]
        found = [answer for answer in answers if not isinstance(answer, ServiceError)]
        if not found:
            raise next(answer for answer in answers if isinstance(answer, ServiceError))
        return found, answers

    def _ask(
        self, shape: type[Shape], path: str, images: Sequence[Image], params: dict[str, Any], is_alone: bool
    ) -> Shape | ServiceError:
        """Send images in one request; return an unreadable single image's error.

        The error is returned only if images were sent in other requests too; else it is raised.
        """
        parts = [("file", _part(image)) for image in images]
        try:
            return self._call(shape, "POST", path, files=parts, params=params)
        except ServiceError as error:
            if is_alone or len(images) > 1 or error.status not in UNREADABLE_IMAGE:
                raise
            return error

    def send_batch(self, file: Path, top_k: int = 3, model: str | None = None) -> Batch:
        """Start a batch prediction for a zip or a JSON-lines manifest.

        The zip holds images. The file is streamed.
        """
        kind = "application/x-ndjson" if file.suffix in (".ndjson", ".jsonl") else "application/zip"
        with file.open("rb") as content:
            params = {"top_k": top_k} | ({"model": model} if model else {})
            options = {"params": params, "headers": {"Content-Type": kind}}
            return self._call(Batch, "POST", "/batches", content=content, **options)

    def follow_batch(self, batch_id: str) -> Iterator[Batch]:
        """Yield the batch repeatedly until it has ended."""
        return self._follow(lambda: self._call(Batch, "GET", f"/batches/{batch_id}"))

    def results(self, batch_id: str) -> Iterator[bytes]:
        """Stream the results so far, as JSON lines."""
        try:
            with self._http.stream("GET", f"/batches/{batch_id}/results") as answer:
                if answer.is_error:
                    answer.read()
                    raise refusal(answer)
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error


def _part(image: Image) -> tuple[str, bytes]:
    """Return the name and the content of a file for a form."""
    if isinstance(image, bytes):
        return "image", image
    return sendable_name(Path(image).name), Path(image).read_bytes()


def _parted(images: Sequence[Image]) -> Iterator[list[Image]]:
    """Yield as many at a time as a request takes."""
    part: list[Image] = []
    size = 0
    for image in images:
        more = len(image) if isinstance(image, bytes) else Path(image).stat().st_size
        if part and (len(part) == MAX_IMAGES or size + more > MAX_IMAGES_BYTES):
            yield part
            part, size = [], 0
        part.append(image)
        size += more
    yield part


def _added(answers: Sequence[Any]) -> dict[str, float]:
    """Add up the milliseconds of several answers."""
    return {name: round(sum(one["timing_ms"][name] for one in answers), 3) for name in answers[-1]["timing_ms"]}


def _embeddings(answer: Embeddings | ServiceError) -> list[Embedding]:
    if isinstance(answer, ServiceError):
        return [{"error": {"status": answer.status, "detail": str(answer)}}]
    return answer["embeddings"]


def _predictions(answer: Predictions | ServiceError) -> list[Prediction]:
    if isinstance(answer, ServiceError):
        return [{"abstained": False, "error": {"status": answer.status, "detail": str(answer)}}]
    return answer["predictions"]
