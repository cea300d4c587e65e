"""Turn encoded images into predictions.

/predict and the Open Inference Protocol use it.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from core.errors import TuneserveError
from core.imaging import preparation
from core.imaging.decoding import decode_small
from core.imaging.preparation import Pixels, Prepared, Preprocess
from core.inference.onnx_predictor import Predictor
from service.inference.batcher import Answer, Batch, Batcher
from service.inference.decode_pool import DecodePool
from service.inference.request_images import EncodedImage
from service.inference.saliency import Weights, saliency_map
from service.observability.metrics import Metrics


@dataclass(frozen=True)
class Answered:
    """The network's answer to one readable image."""

    probabilities: Weights  # by class index
    ood_score: float | None
    queued_ms: float
    batch: Batch
    saliency_map: str | None = None  # only on request
    features: Weights | None = None  # likewise


@dataclass(frozen=True)
class Pipeline:
    """Decode, prepare, batch and, on request, explain the images of a request."""

    batcher: Batcher
    decoders: Executor  # threads that turn bytes into images
    pool: DecodePool  # processes for images that are not small
    metrics: Metrics
    max_pixels: int  # of an image

    async def answer(
        self,
        predictor: Predictor,
        sources: Sequence[EncodedImage],
        preprocess: Preprocess,
        explain: bool = False,
        with_features: bool = False,
    ) -> tuple[list[Prepared | TuneserveError], list[Answered], float]:
        """Prepare images, predict them, and explain the answers if requested.

        Return each image prepared or its error, the answers to the readable ones, and the ms that decoding took. Raise
        Overloaded before anything is decoded if too many images are in progress.
        """
        with self.batcher.room_for(len(sources)):
            started = time.perf_counter()
            prepared = await self._prepare_all(predictor, sources, preprocess)
            self._count(predictor.model.name, prepared)
            decode_ms = (time.perf_counter() - started) * 1000
            readable = [entry.pixels for entry in prepared if isinstance(entry, Prepared) and not entry.blank]
            answers = await self.batcher.submit(predictor, readable, with_features) if readable else []
            answered = [
                _answered(answer, await self._explain(predictor, pixels, answer) if explain else None)
                for pixels, answer in zip(readable, answers, strict=True)
            ]
            return prepared, answered, decode_ms

    async def _prepare_all(
        self, predictor: Predictor, sources: Sequence[EncodedImage], preprocess: Preprocess
    ) -> list[Prepared | TuneserveError]:
        """Prepare each image; an unreadable one becomes its error."""
        run = asyncio.get_running_loop().run_in_executor
        form = predictor.preparation

        def prepare_small(source: EncodedImage) -> Prepared | bytes:
            """Prepare a small image; of any other, return the file."""
            content = source.read()
            image = decode_small(content, self.max_pixels) if isinstance(content, bytes) else content
            if image is not None:
                return preparation.prepare(image, form, preprocess)
            assert isinstance(content, bytes)
            return content

        async def prepare(source: EncodedImage) -> Prepared | TuneserveError:
            try:
                found = await run(self.decoders, prepare_small, source)
                return await self.pool.prepare(found, form, preprocess) if isinstance(found, bytes) else found
            except TuneserveError as error:
                return error

        return list(await asyncio.gather(*map(prepare, sources)))

    def _count(self, model: str, prepared: Sequence[Prepared | TuneserveError]) -> None:
        for entry in prepared:
            outcome = "refused" if isinstance(entry, TuneserveError) else "blank" if entry.blank else "read"
            self.metrics.predict_images.labels(model, outcome).inc()

    async def _explain(self, predictor: Predictor, pixels: Pixels, answer: Answer) -> str:
        async def predict(copies: Sequence[Pixels]) -> Weights:
            return np.stack([one.probabilities for one in await self.batcher.submit(predictor, list(copies))])

        return await saliency_map(pixels, int(answer.probabilities.argmax()), predict, self.decoders)


def _answered(answer: Answer, picture: str | None) -> Answered:
    return Answered(answer.probabilities, answer.ood_score, answer.queued_ms, answer.batch, picture, answer.features)
