"""The engine alone, without HTTP: what no server in front of it can exceed."""

import json
import os
import time
from pathlib import Path

import numpy as np
import onnxruntime

from core.images import Preparation, decode, prepare

PIXELS = 50_000_000


def engine_rates(folder: Path, png: bytes, seconds: float) -> dict[int, float]:
    """Images a second by batch size, on every core, with the graph that the service serves."""
    card = json.loads((folder / "model.json").read_text())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    graph = folder / card.get("serving", {}).get("file", "model.onnx")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    image = prepare(decode(png, PIXELS), Preparation.model_validate(card["preparation"])).pixels
    return {batch: _rate(session, np.stack([image] * batch), seconds) for batch in (1, 8, 32)}


def _rate(session: onnxruntime.InferenceSession, images: np.ndarray, seconds: float) -> float:
    session.run(["logits"], {"images": images})
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        session.run(["logits"], {"images": images})
        done += len(images)
    return done / (time.perf_counter() - started)
