"""Count requests and their time by model, for the statistics extension.

The figures are of this process.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any
from weakref import WeakSet

from service.inference.batcher import Batch

DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
MAX_MODELS = 1_000  # the one whose last request is oldest is forgotten first


@dataclass
class Duration:
    count: int = 0
    ns: int = 0

    def add(self, ms: float) -> None:
        self.count += 1
        self.ns += int(ms * 1e6)


@dataclass
class ModelStatistics:
    name: str
    version: str
    inferences: int = 0  # images
    last_ms: int = 0  # since the epoch
    durations: dict[str, Duration] = field(default_factory=lambda: {name: Duration() for name in DURATIONS})
    runs: dict[int, Duration] = field(default_factory=dict)  # of the network, by the images in a run
    counted: WeakSet[Batch] = field(default_factory=WeakSet)  # of those, while other requests have answers of them


class Statistics:
    def __init__(self) -> None:
        self._models: OrderedDict[str, ModelStatistics] = OrderedDict()

    def succeeded(self, name: str, version: str, images: int, batches: Iterable[Batch], **took_ms: float) -> None:
        """Count a request that succeeded, and its times.

        ``took_ms``: success, queue, compute_input, compute_infer, compute_output. Requests may share a batch.
        """
        own = self._of(name, version)
        own.inferences += images
        own.last_ms = int(time.time() * 1000)
        for part, ms in took_ms.items():
            own.durations[part].add(ms)
        for batch in batches:
            if batch not in own.counted:
                own.counted.add(batch)
                own.runs.setdefault(batch.images, Duration()).add(batch.inference_ms)

    def failed(self, name: str, version: str, ms: float) -> None:
        self._of(name, version).durations["fail"].add(ms)

    def report(self, name: str | None = None) -> dict[str, Any]:
        """Return the protocol's statistics of one model, or of all."""
        return {"model_stats": [_shown(own) for own in self._models.values() if name in (None, own.name)]}

    def _of(self, name: str, version: str) -> ModelStatistics:
        own = self._models.setdefault(f"{name}/{version}", ModelStatistics(name, version))
        self._models.move_to_end(f"{name}/{version}")
        if len(self._models) > MAX_MODELS:
            self._models.popitem(last=False)
        return own


def _shown(own: ModelStatistics) -> dict[str, Any]:
    return {
        "name": own.name,
        "version": own.version,
        "last_inference": own.last_ms,
        "inference_count": own.inferences,
        "execution_count": sum(runs.count for runs in own.runs.values()),
        "inference_stats": {name: asdict(one) for name, one in own.durations.items()},
        "batch_stats": [_runs(images, own.runs[images]) for images in sorted(own.runs)],
    }


def _runs(images: int, runs: Duration) -> dict[str, Any]:
    """Describe the runs with one batch size.

    Images are prepared and answers written for each request, not for a batch: that takes a batch no time.
    """
    beside = {"count": runs.count, "ns": 0}
    return {"batch_size": images, "compute_input": beside, "compute_infer": asdict(runs), "compute_output": beside}
