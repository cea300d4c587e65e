"""worker.training.conv_matmul: convolutions as products, with the same numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from core.inference.network import build
from worker.training.conv_matmul import ConvAsMatmul

SHAPES = [  # inputs, outputs, side of the map, kernel, stride, padding
    (8, 6, 1, 1, 1, 0),
    (8, 6, 4, 1, 1, 0),
    (8, 6, 4, 1, 2, 0),
    (8, 6, 3, 1, 2, 0),
    (8, 6, 1, 3, 1, 1),
    (8, 6, 1, 3, 2, 1),
    (8, 6, 2, 3, 2, 1),
    (8, 6, 3, 3, 1, 0),
    (8, 6, 4, 3, 2, 0),
    (8, 6, 2, 5, 4, 2),
]


class Convolutions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A counter of what still runs as a convolution."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "convolution" in str(func)
        return func(*args, **(kwargs or {}))


def answers(layer: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the output and the gradients of images and parameters."""
    images = images.clone().requires_grad_()
    out = layer(images)
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
    return [out, *torch.autograd.grad((out * weights).sum(), [images, *layer.parameters()])]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_product_gives_what_the_convolution_gives(shape: tuple[int, ...], bias: bool) -> None:
    inputs, outputs, side, kernel, stride, padding = shape
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias)
    images = torch.randn(5, inputs, side, side)
    wanted = answers(layer, images)
    with ConvAsMatmul(), Convolutions() as convolutions:
        given = answers(layer, images)
    assert convolutions.count == 0
    for one, other in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("layer", "side"),
    [
        (nn.Conv2d(8, 8, 1), 8),
        (nn.Conv2d(8, 8, 3, padding=1), 2),
        (nn.Conv2d(8, 8, 1, groups=8), 1),
        (nn.Conv2d(8, 8, 3, padding=2, dilation=2), 1),
        (nn.Conv2d(8, 8, 3, padding="same"), 1),
        (nn.Conv2d(8, 8, 7), 7),
    ],
    ids=["large map", "several pixels from several", "groups", "dilation", "padding by name", "large kernel"],
)
def test_everything_else_stays_a_convolution(layer: nn.Conv2d, side: int) -> None:
    images = torch.randn(2, 8, side, side)
    with ConvAsMatmul(), Convolutions() as convolutions:
        given = layer(images)
    assert convolutions.count == 1
    torch.testing.assert_close(given, layer(images))


def test_a_whole_network_learns_the_same() -> None:
    torch.manual_seed(0)
    network = build("resnet18", 10).to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    wanted = answers(network, images)
    with ConvAsMatmul():
        given = answers(network, images)
    for one, other in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
