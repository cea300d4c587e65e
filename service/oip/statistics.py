"""How often each model was asked by this protocol, and how long it took: the statistics extension. Of this process."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
MOST_MODELS = 1_000  # the one asked longest ago is forgotten first


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
    requests: int = 0
    last_ms: int = 0  # since the epoch
    durations: dict[str, Duration] = field(default_factory=lambda: {name: Duration() for name in DURATIONS})


class Statistics:
    def __init__(self) -> None:
        self._models: OrderedDict[str, ModelStatistics] = OrderedDict()

    def succeeded(self, name: str, version: str, images: int, **took_ms: float) -> None:
        """``took_ms``: success, queue, compute_input, compute_infer, compute_output."""
        own = self._of(name, version)
        own.inferences += images
        own.requests += 1
        own.last_ms = int(time.time() * 1000)
        for part, ms in took_ms.items():
            own.durations[part].add(ms)

    def failed(self, name: str, version: str, ms: float) -> None:
        self._of(name, version).durations["fail"].add(ms)

    def tell(self, name: str | None = None) -> dict[str, Any]:
        """As the extension has it, of one model or of all."""
        return {"model_stats": [_shown(own) for own in self._models.values() if name in (None, own.name)]}

    def _of(self, name: str, version: str) -> ModelStatistics:
        own = self._models.setdefault(f"{name}/{version}", ModelStatistics(name, version))
        self._models.move_to_end(f"{name}/{version}")
        if len(self._models) > MOST_MODELS:
            self._models.popitem(last=False)
        return own


def _shown(own: ModelStatistics) -> dict[str, Any]:
    return {
        "name": own.name,
        "version": own.version,
        "last_inference": own.last_ms,
        "inference_count": own.inferences,
        "execution_count": own.requests,
        "inference_stats": {name: {"count": one.count, "ns": one.ns} for name, one in own.durations.items()},
        "batch_stats": [],
    }
