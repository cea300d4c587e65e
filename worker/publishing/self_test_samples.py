"""Self-test samples: a few images with the served graph's answers.

The service tests a model by them before it serves.
"""

import onnxruntime
import torch
from torch import Tensor

from core.artifacts.manifest import from_tensors
from core.inference.graph_outputs import FEATURES

COUNT = 4  # a photo in a large network takes a CPU a while, and a new model should serve soon


def probes(onnx: bytes, images: Tensor, temperature: float, threshold: float) -> bytes:
    """Record the served graph's answers to a few images.

    ``images``, canonical; ``probabilities``, float32 [n, classes]; and ``ood_score``, float32 [n], if the graph has
    that output. They are computed as the service computes them.
    """
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs() if output.name != FEATURES]
    inputs = {"images": images.cpu().numpy()}
    answers = dict(zip(names, session.run(names, inputs), strict=True))
    recorded = inputs | {"probabilities": (torch.from_numpy(answers["logits"]) / temperature).softmax(1).numpy()}
    if "ood_score" in answers:
        recorded["ood_score"] = answers["ood_score"] / threshold
    return from_tensors(recorded)
