"""Convolutions over tiny feature maps, computed as matrix products.

Deep in a network a small picture is a few pixels of a thousand channels. On a CPU oneDNN's convolutions take several
times as long there as its matrix products, above all for the gradient of the weights (docs/developers/experiments.md).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

MAX_PIXELS = 16  # of a feature map: beyond, a convolution is as fast


class ConvAsMatmul(TorchFunctionMode):
    """Context in which ``torch.conv2d`` runs as a faster matrix product.

    The results are the same but for rounding.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        result = _matmul(*args, **given) if func is torch.conv2d else None
        return func(*args, **given) if result is None else result


def conv_as_matmul(device: torch.device) -> AbstractContextManager[object]:
    """Return a context with faster convolutions, if that device gains from them."""
    return ConvAsMatmul() if device.type == "cpu" else nullcontext()


def _matmul(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] | str = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor | None:
    """Return the convolution's result, None if torch's own is better.

    A matrix product is used only for the forms that are known to be faster so. The arguments are those that nn.Conv2d
    passes.
    """
    if groups != 1 or images.ndim != 4 or isinstance(padding, str) or tuple(dilation) != (1, 1):
        return None
    kernel = weight.shape[2:]
    if tuple(kernel) == (1, 1) and tuple(padding) == (0, 0):
        return _pointwise(images[:, :, :: stride[0], :: stride[1]], weight, bias)
    sides = zip(images.shape[2:], kernel, padding, stride, strict=True)
    if all((side + 2 * pad - width) // step == 0 for side, width, pad, step in sides):
        return _single_output(images, weight[:, :, padding[0] :, padding[1] :], bias)
    return None


def _pointwise(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    if images.shape[2] * images.shape[3] > MAX_PIXELS:
        return None
    return functional.linear(images.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


def _single_output(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """Convolve to one output pixel.

    ``weight`` and image start at the same corner, and only their overlap counts.
    """
    height, width = (min(sides) for sides in zip(images.shape[2:], weight.shape[2:], strict=True))
    if height * width > MAX_PIXELS:
        return None
    pixels, kernel = images[:, :, :height, :width], weight[:, :, :height, :width]
    out = functional.linear(pixels.permute(0, 2, 3, 1).flatten(1), kernel.permute(0, 2, 3, 1).flatten(1), bias)
    return out[:, :, None, None]
