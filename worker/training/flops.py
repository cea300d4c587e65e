"""Count a training step's floating-point operations without computing it."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

SAMPLES = 2  # a batch of one is refused by some layers
NORMS = (_BatchNorm, nn.LayerNorm)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid)


class _Uncounted(nn.Module):
    """Pass on a norm's input, and require its gradient where the norm is trained."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.trained = next((one for one in norm.parameters(recurse=False) if one.requires_grad), None)

    def forward(self, values: Tensor) -> Tensor:
        return values if self.trained is None else values + self.trained.sum()


def flop_per_image(network: nn.Module, sample: Tensor) -> float:
    """Count the floating-point operations of an image's forward and backward pass.

    A multiplication and an addition count as two. ``sample``: the network's input, [n, ...]; only its shape is looked
    at. Optimizer, norms and activations are not counted: the convention of published figures.
    """
    shape = (SAMPLES, *sample.shape[1:])
    weightless = without_the_uncounted(_without_values(network)).train()
    with FlopCounterMode(display=False) as counter:
        logits = weightless(torch.empty(shape, device="meta", dtype=sample.dtype))
        logits.sum().backward()
    return float(counter.get_total_flops() / SAMPLES)


def _without_values(network: nn.Module) -> nn.Module:
    """Copy the network to the meta device without copying its weights."""
    known: dict[int, object] = {
        id(parameter): nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        for parameter in network.parameters()
    }
    return copy.deepcopy(network, known).to("meta")


def without_the_uncounted(network: nn.Module) -> nn.Module:
    """Replace norms and activations: without values, torch spends most of its time on them."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, NORMS):
            network.set_submodule(name, _Uncounted(layer))
        elif isinstance(layer, ACTIVATIONS):
            network.set_submodule(name, nn.Identity())
    return network
