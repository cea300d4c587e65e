"""Random changes of training images, on the device, a batch at a time, each image by itself. Never in evaluation."""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Augment = Callable[[Tensor], Tensor]  # prepared images, n x 3 x size x size, to the same

ROTATION = math.radians(8)  # either way
SHIFT = 0.06  # of half the side, either way
SCALE = 0.06  # smaller or larger by this share


def none(images: Tensor) -> Tensor:
    return images


def digits(images: Tensor) -> Tensor:
    """A small rotation, shift and scale: what another hand would do. Never a flip: that makes another sign."""
    count, device = len(images), images.device
    angle = _around_zero(count, device) * ROTATION
    scale = 1 + _around_zero(count, device) * SCALE
    shift_x, shift_y = _around_zero(count, device) * SHIFT, _around_zero(count, device) * SHIFT
    cos, sin = angle.cos() * scale, angle.sin() * scale
    transform = torch.stack([cos, -sin, shift_x, sin, cos, shift_y], dim=1).view(count, 2, 3)
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


SETS: Mapping[str, Augment] = {"none": none, "digits": digits}


def _around_zero(count: int, device: torch.device) -> Tensor:
    return torch.rand(count, device=device) * 2 - 1
