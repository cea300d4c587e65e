"""Exponential moving average (EMA) of a network's weights.

It generalizes better than the last step's weights, and is ready after any step.
"""

import numpy as np
import torch
from torch import Tensor, nn

from worker.training.optimizer import Arrays

EVERY = 4  # steps between two updates, each of which reads all weights: an average over hundreds misses nothing
RAMP = 100  # the first steps, after each of which it is updated
PREFIX = "raw."


class WeightEma:
    """The EMA of everything that training changes: trained weights and BatchNorm's statistics.

    Source: Polyak and Juditsky 1992; the ramp at the start as in TensorFlow's ExponentialMovingAverage. With a decay
    of 0 there is no average, and all methods do nothing.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        own = _changing(network) if decay else {}
        self._names, self._own = list(own), list(own.values())
        self._other = [tensor.detach().clone() for tensor in self._own]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after a step.

        ``step`` counts from 1 over the whole run.
        """
        stride = 1 if step <= RAMP else EVERY
        if self._own and step % stride == 0:
            decay = min(self._decay**stride, (1 + step) / (10 + step))  # the first steps' weights are soon forgotten
            torch._foreach_lerp_(self._other, self._own, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the network's weights with the average, or back."""
        if not self._own:
            return
        kept = [own.clone() for own in self._own]
        torch._foreach_copy_(self._own, self._other)
        torch._foreach_copy_(self._other, kept)

    def to_arrays(self) -> Arrays:
        """Return the weights that are not in the network now."""
        named = zip(self._names, self._other, strict=True)
        return {PREFIX + name: np.asarray(tensor.detach().cpu()) for name, tensor in named}

    def from_arrays(self, arrays: Arrays) -> None:
        for name, tensor in zip(self._names, self._other, strict=True):
            tensor.copy_(torch.from_numpy(np.array(arrays[PREFIX + name])))


def _changing(network: nn.Module) -> dict[str, Tensor]:
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    return trained | {name: buffer for name, buffer in network.named_buffers() if buffer.is_floating_point()}
