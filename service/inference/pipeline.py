"""From images as they were sent to what the network says of each: /predict and the Open Inference Protocol alike."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import TuneserveError
from core.imaging import preparation
from core.imaging.preparation import Pixels, Prepared, Preprocess
from core.inference.onnx_predictor import Predictor
from service.api.dependencies import State
from service.inference.batcher import Answer, Batch
from service.inference.request_images import Source
from service.inference.saliency import Weights, saliency_map
from service.observability.metrics import Metrics


@dataclass(frozen=True)
class Answered:
    """About one image that can be read."""

    probabilities: Weights  # by class index
    strangeness: float | None
    queued_ms: float
    batch: Batch
    saliency_map: str | None  # where it was asked for


async def answer(
    service: State, predictor: Predictor, sources: Sequence[Source], preprocess: Preprocess, explain: bool = False
) -> tuple[list[Prepared | TuneserveError], list[Answered], float]:
    """Each image prepared, or its error; the answers to those that can be read; how long decoding took in ms.

    Overloaded before anything is decoded, when too much is in work.
    """
    with service.batcher.room_for(len(sources)):
        return await _answer(service, predictor, sources, preprocess, explain)


async def _answer(
    service: State, predictor: Predictor, sources: Sequence[Source], preprocess: Preprocess, explain: bool
) -> tuple[list[Prepared | TuneserveError], list[Answered], float]:
    started = time.perf_counter()
    prepared = await _prepare_all(service, predictor, sources, preprocess)
    _count(service.metrics, prepared)
    decode_ms = (time.perf_counter() - started) * 1000
    readable = [entry.pixels for entry in prepared if isinstance(entry, Prepared) and not entry.blank]
    answers = await service.batcher.submit(predictor, readable) if readable else []
    maps = (
        [await _explain(service, predictor, *pair) for pair in zip(readable, answers, strict=True)] if explain else []
    )
    return prepared, [_answered(one, maps[n] if explain else None) for n, one in enumerate(answers)], decode_ms


def _answered(answer: Answer, picture: str | None) -> Answered:
    return Answered(answer.probabilities, answer.strangeness, answer.queued_ms, answer.batch, picture)


async def _explain(service: State, predictor: Predictor, pixels: Pixels, answer: Answer) -> str:
    async def ask(copies: Sequence[Pixels]) -> Weights:
        return np.stack([one.probabilities for one in await service.batcher.submit(predictor, list(copies))])

    return await saliency_map(pixels, int(answer.probabilities.argmax()), ask, service.decoders)


async def _prepare_all(
    service: State, predictor: Predictor, sources: Sequence[Source], preprocess: Preprocess
) -> list[Prepared | TuneserveError]:
    """Each image prepared, or the error that stands in its place."""

    def prepare(source: Source) -> Prepared | TuneserveError:
        try:
            return preparation.prepare(source.decode(), predictor.preparation, preprocess)
        except TuneserveError as error:
            return error

    loop = asyncio.get_running_loop()
    return list(await asyncio.gather(*(loop.run_in_executor(service.decoders, prepare, source) for source in sources)))


def _count(metrics: Metrics, prepared: Sequence[Prepared | TuneserveError]) -> None:
    for entry in prepared:
        outcome = "refused" if isinstance(entry, TuneserveError) else "blank" if entry.blank else "read"
        metrics.predict_images.labels(outcome).inc()
