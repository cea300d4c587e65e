"""Random augmentation of training images, batch by batch on the device.

All random numbers come from torch's generator, so that its seed makes a run repeatable. Nothing here waits for the
device.
"""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Augment = Callable[[Tensor], Tensor]  # prepared images, n x 3 x size x size, to the same

# digits: variations of handwriting. Lengths are shares of half the side, so that they suit any image size
ROTATION = math.radians(10)  # either way
SHIFT = 0.08  # either way
SCALE = 0.1  # smaller or larger by this share
SHEAR = 0.2  # the slant: how far the top moves against the middle
THICKER, THINNER = 0.6, 0.5  # largest share of the way to a stroke wider or narrower by twice the reach
STROKE_REACH = 1 / 32  # of the side

# photos: variations of framing and light
AREA = 0.5  # smallest share of the picture in a crop
STRETCH = 4 / 3  # largest aspect ratio, either way
BRIGHTNESS = 0.2  # either way, in standard deviations of the grey levels, the unit of a normalised image
CONTRAST, SATURATION = 0.2, 0.2  # either way, as a share
SMALL = 64  # pixels: smaller pictures show little but their object and are shifted instead of cropped
SMALL_SHIFT = 0.25  # either way: 4 pixels of 32, as usual for CIFAR


def none(images: Tensor) -> Tensor:
    return images


def digits(images: Tensor) -> Tensor:
    """Vary rotation, shift, scale, slant and stroke width.

    No flip, which would make another character.
    """
    return _change_strokes(_sample(images, _handwriting(len(images), images.device)))


def flip(images: Tensor) -> Tensor:
    """Mirror half of the images."""
    mirrored = _mirror(len(images), images.device) < 0
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)


def photos(images: Tensor) -> Tensor:
    """Vary crop, flip and light; small pictures are only shifted and flipped."""
    count, device = len(images), images.device
    if images.shape[-1] <= SMALL:
        return _sample(images, _shift(count, images.shape[-1], device))
    return _change_light(_sample(images, _window(*_crop(count, device))))


SETS: Mapping[str, Augment] = {"none": none, "digits": digits, "flip": flip, "photos": photos}


def _handwriting(count: int, device: torch.device) -> Tensor:
    """Draw affine matrices of rotation, slant, scale and shift, in this order."""
    angle, slant = _around_zero(count, device) * ROTATION, _around_zero(count, device) * SHEAR
    scale = 1 + _around_zero(count, device) * SCALE
    shift_x, shift_y = _around_zero(count, device) * SHIFT, _around_zero(count, device) * SHIFT
    cos, sin = angle.cos() * scale, angle.sin() * scale
    return _affine(cos + slant * sin, slant * cos - sin, shift_x, sin, cos, shift_y)


def _crop(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw width and height of crops, as shares of the picture.

    Crops are only enlarged, so that nothing aliases.
    """
    side = (1 - torch.rand(count, device=device) * (1 - AREA)).sqrt()
    stretch = (_around_zero(count, device) * math.log(STRETCH) / 2).exp()
    return (side * stretch).clamp_max(1), (side / stretch).clamp_max(1)


def _window(width: Tensor, height: Tensor) -> Tensor:
    """Draw crops at random places; half of them are mirrored."""
    count, device = len(width), width.device
    shift_x, shift_y = (_around_zero(count, device) * (1 - side) for side in (width, height))
    zero = torch.zeros_like(width)
    return _affine(width * _mirror(count, device), zero, shift_x, zero, height, shift_y)


def _shift(count: int, side: int, device: torch.device) -> Tensor:
    """Draw shifts by whole pixels; half are mirrored too.

    A shift by part of a pixel would blur a small picture.
    """
    pixel, zero = 2 / side, torch.zeros(count, device=device)
    most = round(SMALL_SHIFT / pixel)
    shift_x, shift_y = torch.randint(-most, most + 1, (2, count), device=device) * pixel
    return _affine(zero + _mirror(count, device), zero, shift_x, zero, zero + 1, shift_y)


def _mirror(count: int, device: torch.device) -> Tensor:
    """Draw -1 or 1."""
    return 1 - 2 * torch.randint(0, 2, (count,), device=device)


def _affine(xx: Tensor, xy: Tensor, x: Tensor, yx: Tensor, yy: Tensor, y: Tensor) -> Tensor:
    """Build affine matrices from output to input coordinates.

    n x 2 x 3; coordinates are -1..1 from edge to edge.
    """
    return torch.stack([xx, xy, x, yx, yy, y], dim=1).view(-1, 2, 3)


def _sample(images: Tensor, affine: Tensor) -> Tensor:
    """Resample images by affine matrices.

    Not by F.affine_grid: autocast rounds its matrix product to bf16, which is half a pixel at 224.
    """
    height, width = images.shape[-2:]
    across, down, shift = affine[..., None, None].unbind(2)  # n x 2 x 1 x 1
    grid = across * _centres(width, images.device) + down * _centres(height, images.device)[:, None] + shift
    return F.grid_sample(images, grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def _centres(side: int, device: torch.device) -> Tensor:
    """Return the pixels' centers, in -1..1 from edge to edge."""
    return (torch.arange(side, device=device) * 2 + 1) / side - 1


def _change_strokes(images: Tensor) -> Tensor:
    """Dilate or erode strokes by a random share.

    Ink is bright on a dark background.
    """
    amount = _around_zero(len(images), images.device).view(-1, 1, 1, 1)
    sign = torch.where(amount < 0, -1.0, 1.0)  # the darkest is the brightest of the negative
    signed = images * sign
    brightest = _brightest_around(signed, max(1, round(images.shape[-1] * STROKE_REACH)))
    return signed.lerp_(brightest, torch.where(amount < 0, -amount * THINNER, amount * THICKER)).mul_(sign)


def _brightest_around(images: Tensor, reach: int) -> Tensor:
    """Return the maximum of each pixel and eight neighbours at ``reach``.

    That is a dilation for strokes at least as wide. By shifted copies: max_pool2d takes ten times as long on a CPU.
    """
    for dim in (-1, -2):
        inner = images.shape[dim] - reach
        brightest = images.clone()
        for target, source in ((reach, 0), (0, reach)):
            part = brightest.narrow(dim, target, inner)
            torch.maximum(part, images.narrow(dim, source, inner), out=part)
        images = brightest
    return images


def _change_light(images: Tensor) -> Tensor:
    """Vary saturation, contrast and brightness.

    Saturation changes about each pixel's grey, contrast about the picture's mean. On normalised images this has nearly
    the same effect as on the picture, since the channels' mean and std are alike.
    """
    saturation, contrast, brightness = (
        (_around_zero(len(images), images.device) * amount).view(-1, 1, 1, 1)
        for amount in (SATURATION, CONTRAST, BRIGHTNESS)
    )
    grey = images.mean(1, keepdim=True)
    rest = brightness - grey.mean((2, 3), keepdim=True) * contrast - grey * (saturation * (1 + contrast))
    return torch.addcmul(rest, images, (1 + saturation) * (1 + contrast))


def _around_zero(count: int, device: torch.device) -> Tensor:
    """Draw uniform numbers from -1 to 1."""
    return torch.rand(count, device=device) * 2 - 1
