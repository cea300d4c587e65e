"""Bring what is known of each image into one space of few dimensions.

There, images that look alike point into the same direction.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

DIMENSIONS = 256  # of 290 photos, labels were found as well with 1280, with 128 a little worse
SEED = 0  # of the search for the main directions: the same images give the same findings
BLOCK = 2**24  # similarities that are in memory at a time


@torch.inference_mode()
def project(*blocks: Tensor) -> Tensor:
    """Project blocks of values of the same images onto their main directions.

    Each n x any; every block counts as much as any other. Returns float n x at most DIMENSIONS, of mean 0.
    """
    joined = torch.cat([_scaled(block) for block in blocks], 1)
    wanted = min(DIMENSIONS, *joined.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        directions = torch.pca_lowrank(joined, wanted, center=False, niter=2)[2]
    return joined @ directions


def _scaled(block: Tensor) -> Tensor:
    unit = functional.normalize(block.float(), dim=1)
    unit -= unit.mean(0)
    return unit / unit.square().sum(1).mean().sqrt().clamp_min(1e-6)


def similarities(images: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield cosine similarities of some images with all.

    With the number of the first of them. ``images``: n x d, of length 1.
    """
    rows = max(1, BLOCK // max(1, len(images)))
    for start in range(0, len(images), rows):
        yield start, images[start : start + rows] @ images.T
