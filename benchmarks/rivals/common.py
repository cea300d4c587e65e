"""Decoding and inference shared by the rivals; imports none of our code."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

MODEL = Path(os.environ["BENCH_MODEL"])  # a model's folder
GRAPH = os.environ.get("BENCH_GRAPH", "model.onnx")
THREADS = int(os.environ.get("BENCH_THREADS", "2"))


def session() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    return onnxruntime.InferenceSession(MODEL / GRAPH, options, providers=["CPUExecutionProvider"])


def pixels(data: bytes) -> Any:
    """Decode a PNG to the graph's input.

    The result is uint8, height x width x 1.
    """
    image = Image.open(io.BytesIO(data)).convert("L")
    side = json.loads((MODEL / "model.json").read_text())["preparation"]["height"] if image.width != 28 else 28
    return np.asarray(image if image.width == side else image.resize((side, side)))[:, :, None]


def answer(logits: Any) -> list[dict[str, Any]]:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    return [{"label": int(row.argmax()), "probability": float(row.max())} for row in probabilities]
