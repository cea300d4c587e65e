"""Count a training step's floating-point operations without computing it."""

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

SAMPLES = 2  # BatchNorm cannot take a batch of one


def flop_per_image(network: nn.Module, sample: Tensor) -> float:
    """Count the floating-point operations of an image's forward and backward pass.

    A multiplication and an addition count as two. ``sample``: the network's input, [n, ...]; only its shape is looked
    at. Optimizer, norms and activations are not counted: the convention of published figures.
    """
    shape = (SAMPLES, *sample.shape[1:])
    weightless = copy.deepcopy(network).to("meta").train()
    with FlopCounterMode(display=False) as counter:
        logits = weightless(torch.empty(shape, device="meta", dtype=sample.dtype))
        logits.sum().backward()
    return float(counter.get_total_flops() / SAMPLES)
