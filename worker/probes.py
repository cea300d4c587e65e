"""Probes: a few images, and what the served graph says of them. The service tests a model by them before it serves."""

import onnxruntime
import torch
from torch import Tensor

from core.checkpoints import from_tensors

PROBES = "probes.safetensors"
COUNT = 4  # a photo in a large network takes a CPU a while, and a new model should serve soon


def probes(onnx: bytes, images: Tensor, temperature: float) -> bytes:
    """``images``, canonical, and ``probabilities``, float32 [n, classes], made as the service makes them."""
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.cpu().numpy()})
    probabilities = (torch.from_numpy(logits) / temperature).softmax(1)
    return from_tensors({"images": images.cpu().numpy(), "probabilities": probabilities.numpy()})
