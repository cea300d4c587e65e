"""Collect waiting images into batches and run them through the network.

It needs no clock: a batch is what queued while the device worked on the one before.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from core.errors import NotReady, Overloaded
from core.inference.onnx_predictor import Images, Outputs, Predictor


@dataclass(frozen=True, eq=False)
class Batch:
    """A run of the network; its answers all share this object."""

    images: int
    inference_ms: float


@dataclass(frozen=True)
class Answer:
    probabilities: npt.NDArray[np.float32]  # by class index
    ood_score: float | None  # above 1 the model abstains; None: it has no such score
    predictor: Predictor  # the one that answered
    queued_ms: float
    batch: Batch  # that it was part of
    features: npt.NDArray[np.float32] | None = None  # only if wanted


@dataclass
class _Waiting:
    image: Images  # height x width x channels
    predictor: Predictor
    answer: asyncio.Future[Answer]
    since: float
    request: Any  # as Watch calls it
    wants_features: bool


class Watch(Protocol):
    """A watch of which requests a batch answers, for traces."""

    def request(self) -> Any:
        """Return the request that submits images now."""

    def batch(self, predictor: Predictor, requests: Sequence[Any]) -> Callable[[Images, bool], Outputs]:
        """Return the predictor's ``run`` for a batch that begins now.

        ``requests`` holds one for each image.
        """


class Batcher:
    """Queue images and answer them in batches, with bounds.

    One image more than ``queue_limit`` raises Overloaded. Images of clients that left are dropped. They wait with the
    predictor for which they were prepared, so that a swap in between changes nothing for them.
    """

    def __init__(
        self,
        executor: Executor,
        batch_limit: int,
        queue_limit: int,
        on_batch: Callable[[int], None] = lambda _images: None,
        watch: Watch | None = None,
    ) -> None:
        self._executor = executor  # of as many threads as any predictor has max_concurrent_batches
        self._batch_limit = batch_limit
        self._queue_limit = queue_limit
        self._on_batch = on_batch
        self._watch = watch
        self._queue: list[_Waiting] = []
        self._admitted = 0  # images in work, decoding included
        self._starting = False
        self._running: set[asyncio.Task[None]] = set()  # a batch each

    @property
    def waiting(self) -> int:
        """Count the waiting images, without those being computed."""
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        """Check whether one image more would be refused."""
        return self._admitted >= self._queue_limit

    @contextmanager
    def room_for(self, count: int) -> Iterator[None]:
        """Hold places for images until they are answered.

        Enter it before they are decoded. It raises Overloaded at once if there are too few places.
        """
        if self._admitted + count > self._queue_limit:
            raise Overloaded(f"{self._admitted} images are in progress already.")
        self._admitted += count
        try:
            yield
        finally:
            self._admitted -= count

    async def submit(self, predictor: Predictor, images: list[Images], with_features: bool = False) -> list[Answer]:
        """Run canonical images through the network; return their answers in order.

        All of them wait or none does: Overloaded if the queue has no room for all.
        """
        if len(self._queue) + len(images) > self._queue_limit:
            raise Overloaded(f"{len(self._queue)} images are waiting already.")
        loop, now = asyncio.get_running_loop(), time.perf_counter()
        request = self._watch.request() if self._watch else None
        waiting = [_Waiting(image, predictor, loop.create_future(), now, request, with_features) for image in images]
        self._queue.extend(waiting)
        self._start_soon()
        try:
            if len(waiting) == 1:
                return [await waiting[0].answer]  # most requests; to gather costs a callback more
            return list(await asyncio.gather(*(entry.answer for entry in waiting)))
        finally:
            for entry in waiting:
                entry.answer.cancel()  # no effect on one that is done; a waiting one is dropped from its batch

    async def run(self) -> None:
        """Run until cancelled; then fail the requests that still wait."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for running in self._running:
                running.cancel()
            for entry in self._queue:
                _tell(entry, _stopping())

    def _start_soon(self) -> None:
        """Start batches after this turn of the event loop.

        Images that arrive in the same turn share a batch.
        """
        if not self._starting:
            self._starting = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._starting = False
        while batch := self._next_batch():
            running = asyncio.create_task(self._answer(batch))
            self._running.add(running)
            running.add_done_callback(self._ended)

    def _ended(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        self._start_soon()

    def _next_batch(self) -> list[_Waiting]:
        """Take the next batch off the queue: images for the same predictor.

        They go with the oldest live request, up to the limit, and are no more than one batch's share where the
        predictor takes several at a time. The list is empty while it takes no more.
        """
        self._queue = [entry for entry in self._queue if not entry.answer.done()]
        if not self._queue or (free := self._queue[0].predictor.max_concurrent_batches - len(self._running)) <= 0:
            return []
        ready = [entry for entry in self._queue if entry.predictor is self._queue[0].predictor]
        batch = ready[: min(self._batch_limit, math.ceil(len(ready) / free))]
        taken = {id(entry) for entry in batch}
        self._queue = [entry for entry in self._queue if id(entry) not in taken]
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        predictor, started = batch[0].predictor, time.perf_counter()
        images, with_features = [entry.image for entry in batch], any(entry.wants_features for entry in batch)
        self._on_batch(len(batch))
        try:
            run = self._watch.batch(predictor, [entry.request for entry in batch]) if self._watch else predictor.run
            outputs = await asyncio.get_running_loop().run_in_executor(self._executor, _run, run, images, with_features)
        except asyncio.CancelledError:
            for entry in batch:
                _tell(entry, _stopping())
            raise
        except Exception as error:  # the edge of the device: whoever waits hears of it, and the next batch is tried
            for entry in batch:
                _tell(entry, error)
            return
        done = Batch(len(batch), (time.perf_counter() - started) * 1000)
        ood_score = [None] * len(batch) if outputs.ood_score is None else outputs.ood_score.tolist()
        features = [None] * len(batch) if outputs.features is None else outputs.features
        for entry, row, score, seen in zip(batch, outputs.probabilities, ood_score, features, strict=True):
            if not entry.answer.done():
                queued_ms = (started - entry.since) * 1000
                wanted = seen if entry.wants_features else None
                entry.answer.set_result(Answer(row, score, predictor, queued_ms, done, wanted))


def _run(run: Callable[[Images, bool], Outputs], images: Sequence[Images], with_features: bool) -> Outputs:
    """Join a batch's images and run it, both on the device's thread.

    Photos of a batch are megabytes, so joining them takes time too.
    """
    return run(np.stack(images), with_features)


def _stopping() -> NotReady:
    return NotReady("The service is stopping.")


def _tell(entry: _Waiting, error: Exception) -> None:
    if not entry.answer.done():
        entry.answer.set_exception(error)
