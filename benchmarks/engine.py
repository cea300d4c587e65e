"""Measure the inference engine's throughput without HTTP.

It is the upper bound of any server.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from core.artifacts.store import LocalStore
from core.db.tables import Model
from core.imaging.decoding import decode
from core.imaging.preparation import Preparation, prepare

PIXELS = 50_000_000
BATCHES = {"cpu": (1, 8, 32), "cuda": (1, 8, 32, 128, 256)}


def engine_rates(folder: Path, png: bytes, seconds: float, device: str = "cpu") -> dict[int, float]:
    """Measure images/s by batch size with the device's engine.

    The engine is the service's; on a CPU it has all cores.
    """
    card = json.loads((folder / "model.json").read_text())
    batches = BATCHES[device]
    run = _on_cpu(folder, card) if device == "cpu" else with_torch(folder, card, device, batches[-1])
    image = prepare(decode(png, PIXELS), Preparation.model_validate(card["preparation"])).pixels
    return {batch: _rate(run, np.stack([image] * batch), seconds) for batch in batches}


def with_torch(folder: Path, card: dict[str, Any], device: str, largest: int) -> Callable[[np.ndarray], object]:
    """Load the predictor that serves on a GPU."""
    from service.inference.torch_predictor import TorchPredictor

    model = Model(id=folder.name, key=f"models/{folder.name}", card=card)
    return TorchPredictor(model, LocalStore(folder.parents[1]), device, largest).run


def _on_cpu(folder: Path, card: dict[str, Any]) -> Callable[[np.ndarray], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    graph = folder / card.get("serving", {}).get("file", "model.onnx")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"images": images})


def _rate(run: Callable[[np.ndarray], object], images: np.ndarray, seconds: float) -> float:
    run(images)
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        run(images)
        done += len(images)
    return done / (time.perf_counter() - started)
