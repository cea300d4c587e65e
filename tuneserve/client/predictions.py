"""Calls that classify images or return their features."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tuneserve.client import frames, html
from tuneserve.client.connection import Connection, Fields
from tuneserve.client.errors import ServiceError
from tuneserve.client.images import Image, Input, inputs, parted
from tuneserve.types import Embedding, Embeddings, Record
from tuneserve.types import Prediction as PredictionFields
from tuneserve.types import Predictions as Answer

UNREADABLE_IMAGE = (400, 413, 415, 422)  # statuses of a response to an unreadable image
COLUMNS = ("file", "label", "probability", "ood_score", "abstained")

Report = Callable[[int, int], None]  # images answered, and images in all


class Prediction(PredictionFields):
    """The prediction for one image, with the image's name."""

    file: str


@dataclass(frozen=True)
class Predictions(Sequence[Prediction]):
    """The predictions for some images, in their order."""

    model: Record  # name, version, id and job_id of the model that answered
    predictions: tuple[Prediction, ...]
    timing_ms: Record
    neighbours_among: Record | None = None  # number and part of the training images that were compared

    def __len__(self) -> int:
        return len(self.predictions)

    def __getitem__(self, place: Any) -> Any:
        return self.predictions[place]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)

    def as_json(self) -> dict[str, Any]:
        fields = {"model": self.model, "predictions": list(self.predictions), "timing_ms": self.timing_ms}
        return fields | ({"neighbours_among": self.neighbours_among} if self.neighbours_among else {})

    def to_frame(self) -> Any:
        """Return a pandas DataFrame, one row an image.

        An image that could not be read has its reason in the column `error`.
        """
        return frames.of_rows(self._rows())

    def _repr_html_(self) -> str:
        return html.table(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        has_errors = any(one.error for one in self)
        reasons = ({"error": one.error["detail"] if one.error else None} if has_errors else {} for one in self)
        return [{name: getattr(one, name) for name in COLUMNS} | more for one, more in zip(self, reasons, strict=True)]


class PredictionCalls(Connection):
    """Classify images."""

    def predict(
        self,
        *images: Image,
        top_k: int = 3,
        model: str | None = None,
        neighbours: int = 0,
        progress: Report | None = None,
    ) -> Predictions:
        """Classify images, in as many requests as needed.

        ``images``: paths of files or folders, patterns such as `new/*.jpg`, URLs, bytes, arrays, PIL images, or lists
        of them. ``model``: an id, `pets`, `pets/3` or `pets@best`; default: the default name. The model of the result
        is that of the last request. ``neighbours``: number of nearest training images to show for each, at most 20.
        """
        given = list(inputs(images))
        params = {"top_k": top_k} | ({"model": model} if model else {})
        params |= {"neighbours": neighbours} if neighbours else {}
        answers = self._ask_in_parts(Answer, "/predict", given, params, progress)
        each = [one for answer in answers for one in _each(answer, "predictions", abstained=False)]
        named = tuple(Prediction(one, file=source.name) for source, one in zip(given, each, strict=True))
        last = _last(answers)
        among = Record(last.neighbours_among) if last.neighbours_among else None
        return Predictions(Record(last.model), named, _times(answers), among)

    def embed(self, *images: Image, model: str | None = None) -> Embeddings:
        """Return the features of images, in as many requests as needed.

        Those of an image have length 1. ``images`` and ``model`` are those of ``predict``.
        """
        answers = self._ask_in_parts(Embeddings, "/embed", list(inputs(images)), {"model": model} if model else {})
        each = [Embedding(one) for answer in answers for one in _each(answer, "embeddings")]
        last = _last(answers)
        return Embeddings(model=last.model, dimension=last.dimension, embeddings=each, timing_ms=_times(answers))

    def _ask_in_parts(
        self,
        shape: type[Fields],
        path: str,
        given: Sequence[Input],
        params: dict[str, Any],
        progress: Report | None = None,
    ) -> list[Fields | ServiceError]:
        """Send images in as many requests as needed.

        An unreadable image that was sent alone has its error among the answers; if there are no others, that is raised.
        """
        answers: list[Fields | ServiceError] = []
        done = 0
        for part in parted(given):
            answers.append(self._ask(shape, path, part, params, len(given) == 1))
            done += len(part)
            if progress:
                progress(done, len(given))
        if all(isinstance(answer, ServiceError) for answer in answers):
            nothing = ServiceError("give at least one image")
            raise next((answer for answer in answers if isinstance(answer, ServiceError)), nothing)
        return answers

    def _ask(
        self, shape: type[Fields], path: str, part: Sequence[Input], params: dict[str, Any], is_alone: bool
    ) -> Fields | ServiceError:
        body: dict[str, Any] = (
            {"json": {"images": [{"url": one.url} for one in part]}}
            if part[0].url
            else {"files": [("file", one.part()) for one in part]}
        )
        try:
            return self._call(shape, "POST", path, params=params, **body)
        except ServiceError as error:
            if is_alone or len(part) > 1 or error.status not in UNREADABLE_IMAGE:
                raise
            return error


def _each(answer: Record | ServiceError, name: str, **more: Any) -> list[Record]:
    if isinstance(answer, ServiceError):
        return [Record(more, error={"status": answer.status, "detail": str(answer)})]
    found: list[Record] = answer[name]
    return found


def _last(answers: Sequence[Fields | ServiceError]) -> Fields:
    return [answer for answer in answers if not isinstance(answer, ServiceError)][-1]


def _times(answers: Sequence[Record | ServiceError]) -> Record:
    """Add up the milliseconds of several requests."""
    found = [answer for answer in answers if not isinstance(answer, ServiceError)]
    return Record({name: round(sum(one.timing_ms[name] for one in found), 3) for name in found[-1].timing_ms})
