"""Find images that show the same picture, encoded or scaled differently.

Their small grey pictures are almost the same, and the network sees something alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from worker.checkup.space import similarities

PICTURE = 32  # side in pixels of the small pictures
# correlation of two of them: encoded again as JPEG and made smaller, 60 photos had at least 0.996 and 300 digits of
# MNIST 0.993; of different ones, the most alike had 0.95 (600 parts of photos) and 0.9904 (two ones of 4,000 digits)
SAME_PICTURE = 0.99
COARSE, SAME_COARSE = 16, 0.985  # the same of a quarter of the pixels: which pairs to compare
ALIKE = 0.3  # cosine of what the network sees, the mean of all images taken off; of the 60 photos at least 0.41
MAX_PAIRS = 4_096  # compared at a time


@dataclass(frozen=True)
class NearDuplicate:
    image: int  # its row
    like: int  # the row of an earlier image
    score: float  # correlation of their pictures


@torch.inference_mode()
def find(directions: Tensor, pictures: Tensor) -> list[NearDuplicate]:
    """Pair each image with the most similar earlier one, if it is the same.

    ``directions``: float n x d, of length 1; ``pictures``: uint8 n x PICTURE x PICTURE. The most similar pairs come
    first.
    """
    coarse = _contrast(functional.adaptive_avg_pool2d(pictures.float(), COARSE))
    best: dict[int, NearDuplicate] = {}
    for start, alike in similarities(coarse):
        for pair in _same(start, alike.tril_(start - 1), directions, pictures):  # earlier ones only
            if pair.image not in best or pair.score > best[pair.image].score:
                best[pair.image] = pair
    return sorted(best.values(), key=lambda pair: -pair.score)


def _same(start: int, alike: Tensor, directions: Tensor, pictures: Tensor) -> Iterator[NearDuplicate]:
    rows, earlier = (alike > SAME_COARSE).nonzero(as_tuple=True)
    rows += start
    for one, other in zip(torch.split(rows, MAX_PAIRS), torch.split(earlier, MAX_PAIRS), strict=True):
        score = (_contrast(pictures[one]) * _contrast(pictures[other])).sum(1)
        seen = (directions[one] * directions[other]).sum(1)
        for place in ((score > SAME_PICTURE) & (seen > ALIKE)).nonzero()[:, 0].tolist():
            yield NearDuplicate(int(one[place]), int(other[place]), min(1.0, float(score[place])))


def _contrast(pictures: Tensor) -> Tensor:
    values = pictures.flatten(1).float()
    return functional.normalize(values - values.mean(1, keepdim=True), dim=1)
