"""POST /predict: images in, labels out. Each image stands for itself; one bad among many gets its own error."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from core import images
from core.errors import TuneserveError
from core.images import Prepared
from service.batcher import Answer
from service.inputs import BODY, Source, read_sources
from service.metrics import Metrics
from service.patience import while_wanted
from service.predictor import Predictor
from service.problems import problem, status_of
from service.state import Service, State

router = APIRouter(tags=["predict"])
Normalize = Literal["auto", "none"]
NO_DIGIT = "no_digit"


class Candidate(BaseModel):
    label: str
    probability: float


class Prediction(BaseModel):
    """An answer, or the error of this image alone."""

    label: str | None = None
    class_index: int | None = None
    probability: float | None = None
    top_k: list[Candidate] | None = None
    abstained: bool = Field(False, description="There is nothing on the image to read; the label is `no_digit`.")
    normalized: dict[str, Any] | None = Field(None, description="What was done to the image first.")
    error: dict[str, Any] | None = Field(None, description="A problem; then all else is empty.")


class Predictions(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model: dict[str, Any] = Field(description="id, version and job_id of the model that answered")
    predictions: list[Prediction]
    timing_ms: dict[str, float] = Field(description="decode, queue, inference, total")


@router.post("/predict", openapi_extra=BODY, summary="Which class is on this image?", response_model_exclude_none=True)
async def predict(
    request: Request,
    service: Service,
    top_k: Annotated[int, Query(ge=1, le=100, description="How many classes to name, likeliest first")] = 3,
    normalize: Annotated[Normalize, Query(description="none: only bring the image to size")] = "auto",
    model: Annotated[str | None, Query(description="A model's id or alias; default: the one that serves")] = None,
    x_timeout_ms: Annotated[int | None, Header(ge=1, le=600_000, description="Give up after so long, with 504")] = None,
) -> Predictions:
    """`-F file=@seven.png`, once or often; or `--data-binary @seven.png` with an image's content type; or JSON."""
    started = time.perf_counter()
    predictor = await service.predictor(model)
    sources = await read_sources(request, service.settings)
    working = _answer(service, predictor, sources, normalize)
    prepared, answers, decode_ms = await while_wanted(request, working, x_timeout_ms)
    return Predictions(
        model={"id": predictor.model.id, "version": predictor.model.version, "job_id": predictor.model.job_id},
        predictions=_in_order(request, prepared, iter(answers), predictor.classes, top_k),
        timing_ms={
            "decode": round(decode_ms, 3),
            "queue": round(max((answer.queued_ms for answer in answers), default=0.0), 3),
            "inference": round(max((answer.inference_ms for answer in answers), default=0.0), 3),
            "total": round((time.perf_counter() - started) * 1000, 3),
        },
    )


async def _answer(
    service: State, predictor: Predictor, sources: Sequence[Source], normalize: Normalize
) -> tuple[list[Prepared | TuneserveError], list[Answer], float]:
    """Each image prepared, the answers to those that can be read, and how long decoding took in ms."""
    started = time.perf_counter()
    prepared = await _prepare_all(service, predictor, sources, normalize)
    _count(service.metrics, prepared)
    decode_ms = (time.perf_counter() - started) * 1000
    if len(prepared) == 1 and isinstance(prepared[0], TuneserveError):
        raise prepared[0]
    readable = [entry.pixels for entry in prepared if isinstance(entry, Prepared) and not entry.blank]
    answers = await service.batcher.submit(predictor, readable) if readable else []
    return prepared, answers, decode_ms


async def _prepare_all(
    service: State, predictor: Predictor, sources: Sequence[Source], normalize: Normalize
) -> list[Prepared | TuneserveError]:
    """Each image prepared, or the error that stands in its place."""

    def prepare(source: Source) -> Prepared | TuneserveError:
        try:
            return images.prepare(source(), predictor.preparation, normalize)
        except TuneserveError as error:
            return error

    loop = asyncio.get_running_loop()
    return list(await asyncio.gather(*(loop.run_in_executor(service.decoders, prepare, source) for source in sources)))


def _count(metrics: Metrics, prepared: Sequence[Prepared | TuneserveError]) -> None:
    for entry in prepared:
        outcome = "refused" if isinstance(entry, TuneserveError) else "blank" if entry.blank else "read"
        metrics.predict_images.labels(outcome).inc()


def _in_order(
    request: Request,
    prepared: Sequence[Prepared | TuneserveError],
    answers: Iterator[Answer],
    classes: tuple[str, ...],
    top_k: int,
) -> list[Prediction]:
    predictions = []
    for entry in prepared:
        if isinstance(entry, TuneserveError):
            status, code = status_of(entry)
            predictions.append(Prediction(error=problem(request, status, code, str(entry))))
        elif entry.blank:
            predictions.append(Prediction(label=NO_DIGIT, abstained=True, normalized=entry.normalized))
        else:
            predictions.append(_prediction(next(answers), entry, classes, top_k))
    return predictions


def _prediction(answer: Answer, prepared: Prepared, classes: tuple[str, ...], top_k: int) -> Prediction:
    likeliest = answer.probabilities.argsort()[::-1][:top_k]
    candidates = [
        Candidate(label=classes[index], probability=round(float(answer.probabilities[index]), 6)) for index in likeliest
    ]
    return Prediction(
        label=candidates[0].label,
        class_index=int(likeliest[0]),
        probability=candidates[0].probability,
        top_k=candidates,
        normalized=prepared.normalized,
    )
