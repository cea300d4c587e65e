"""Keep loaded models within a memory budget.

The least recently used ones are dropped, the default name's model never. Only the event loop touches what is here;
loading itself happens in threads.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from core.artifacts.model_files import INT8_GRAPH
from core.db.tables import Model
from core.errors import NotReady
from core.inference.onnx_predictor import Predictor, graph_of

log = logging.getLogger(__name__)
MIB = 2**20
OF_A_FILE = 4  # bytes in memory for each of a model's file
OF_A_PIXEL = (150, 100)  # bytes of activations for each pixel that the network sees: in fp32, in int8
RETRY_S = 30.0  # a model that could not be loaded is not tried again so soon


@dataclass(frozen=True)
class Loaded:
    predictor: Predictor
    self_test: str  # what came of it, for people


Load = Callable[[Model], Loaded]


def memory_bytes(model: Model, batch: int) -> int:
    """Estimate the memory that a loaded model takes, in bytes.

    It counts the weights as file, copy, packed copy and those for single images, and the activations of a batch.

    Resident memory with ONNX Runtime 1.32 after a batch of 32 and a single image, MiB: in fp32 resnet50 at 32 px 367,
    at 224 px, where it is slow and needs no more for single images, 467; resnet18 at 32 px 225; mobilenet_v2 at 224 px
    366. This says 374, 598, 182 and 266. In int8 resnet50 at 32 px 104, at 64 px 124, at 224 px 217 to 267; this says
    103, 116 and 257.
    """
    size = model.card["files"].get(graph_of(model), {"size_bytes": 0})["size_bytes"]
    pixels = batch * model.card["preparation"]["image_size"] ** 2
    return int(OF_A_FILE * size + OF_A_PIXEL[graph_of(model) == INT8_GRAPH] * pixels)


class ModelCache:
    """Loaded models by id, with one load at a time for each.

    ``executor`` needs two threads: one loads what a request names, the other is free for what is to serve.
    """

    def __init__(
        self,
        load: Load,
        executor: Executor,
        budget_bytes: int,
        batch: int,
        on_failure: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._executor = executor
        self._budget = budget_bytes
        self._batch = batch
        self._on_failure = on_failure
        self._clock = clock
        self._loaded: dict[str, Loaded] = {}  # by model id, the least recently used first
        self._bytes: dict[str, int] = {}  # of those, and of those being loaded
        self._loading: dict[str, asyncio.Task[Loaded]] = {}
        self._refused: dict[str, tuple[float, str]] = {}  # until when, why
        self._pinned: str | None = None
        self._one_at_a_time = asyncio.Semaphore()

    @property
    def count(self) -> int:
        return len(self._loaded)

    async def get(self, model: Model, to_serve: bool = False) -> Loaded:
        """Return the loaded model; requests during a load share it.

        Raise NotReady if it cannot be loaded, or would not fit beside the one that serves. ``to_serve`` tries in any
        case.
        """
        if loaded := self._loaded.get(model.id):
            self._touch(model.id)
            return loaded
        until, reason = self._refused.get(model.id, (0.0, ""))
        if self._clock() < until and not to_serve:
            raise NotReady(reason)
        if model.id not in self._loading:
            self._start(model, to_serve)
        return await asyncio.shield(self._loading[model.id])  # one that leaves does not end it for the others

    def peek(self, model_id: str, use: bool = True) -> Loaded | None:
        """Return the model if it is loaded, else None.

        ``use`` counts this as a use, so that others are dropped first.
        """
        loaded = self._loaded.get(model_id)
        if loaded and use:
            self._touch(model_id)
        return loaded

    def pin(self, model_id: str) -> None:
        """Keep this model: it answers for the default name now.

        The one before it is the last to go: a rollback finds it here.
        """
        if self._pinned in self._loaded:
            self._touch(self._pinned)
        self._pinned = model_id
        self._make_room(0)

    def drop(self, model_id: str) -> None:
        """Forget a model. Requests in work keep it until they end."""
        if self._loaded.pop(model_id, None):
            del self._bytes[model_id]

    def close(self) -> None:
        for task in self._loading.values():
            task.cancel()

    def _start(self, model: Model, to_serve: bool) -> None:
        needed = memory_bytes(model, self._batch)
        if not to_serve and self._bytes.get(self._pinned or "", 0) + needed > self._budget:
            raise NotReady(
                f"{model.id} needs about {needed // MIB} MiB beside the model that serves, and "
                f"TUNESERVE_PREDICT_MEMORY_BYTES allows {self._budget // MIB} MiB for all."
            )
        task = asyncio.create_task(self._run(model, needed, nullcontext() if to_serve else self._one_at_a_time))
        self._loading[model.id] = task
        task.add_done_callback(lambda ended: self._ended(model.id, ended))

    async def _run(self, model: Model, needed: int, turn: AbstractAsyncContextManager[None]) -> Loaded:
        async with turn:
            self._make_room(needed)
            self._bytes[model.id] = needed
            try:
                loaded = await asyncio.get_running_loop().run_in_executor(self._executor, self._load, model)
            except Exception as error:  # the edge of a new model: what is wrong with it must not harm the others
                log.exception("%s cannot be loaded", model.id)
                raise self._refuse(model.id, error) from error
            self._loaded[model.id] = loaded
            self._refused.pop(model.id, None)
            return loaded

    def _refuse(self, model_id: str, error: Exception) -> NotReady:
        reason = f"{model_id} cannot be loaded: {error}"
        del self._bytes[model_id]
        self._refused[model_id] = self._clock() + RETRY_S, reason
        self._on_failure()
        return NotReady(reason)

    def _ended(self, model_id: str, task: asyncio.Task[Loaded]) -> None:
        del self._loading[model_id]
        if not task.cancelled():
            task.exception()  # who waits hears of it; perhaps nobody waits any more

    def _touch(self, model_id: str) -> None:
        self._loaded[model_id] = self._loaded.pop(model_id)

    def _make_room(self, needed: int) -> None:
        """Drop the least recently used models until ``needed`` more bytes fit.

        The pinned model stays.
        """
        for model_id in [model_id for model_id in self._loaded if model_id != self._pinned]:
            if sum(self._bytes.values()) + needed <= self._budget:
                return
            log.info("dropping %s from memory", model_id)
            self.drop(model_id)
