"""Find images whose label is probably wrong.

Each image is classified by all others: kernel least squares with a closed form of leaving one out. It is the idea of
confident learning (Northcutt et al. 2021) with a margin in place of estimated thresholds.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LANDMARKS = 2_000  # images that the kernel compares with; up to so many, the solution is exact
WIDTH = 0.5  # of the kernel, by the median of squared distances
RIDGE = 0.5
MARGIN = 0.35  # by which another class must lead, on a scale of about 0 to 1
MIN_IMAGES = 5  # of a class: fewer allow no judgement
SEED = 0
BLOCK = 4_096  # images at a time


@dataclass(frozen=True)
class WrongLabel:
    image: int  # its row
    suggested: int  # class
    score: float  # by how much the other class leads, at most 1


@torch.inference_mode()
def find(space: Tensor, labels: Tensor, classes: int) -> list[WrongLabel]:
    """List probably wrong labels, the surest first.

    ``space``: float n x d; ``labels``: int64 n.
    """
    counts = labels.bincount(minlength=classes)
    if int((counts >= MIN_IMAGES).sum()) < 2:
        return []
    scores = left_out(space, labels, classes)
    own = scores.gather(1, labels[:, None])[:, 0]
    scores[:, counts < MIN_IMAGES] = -torch.inf
    best, suggested = scores.scatter(1, labels[:, None], -torch.inf).max(1)
    margin = torch.where(counts[labels] >= MIN_IMAGES, best - own, -torch.inf)
    rows = margin.argsort(descending=True, stable=True)[: int((margin > MARGIN).sum())].tolist()
    return [WrongLabel(row, int(suggested[row]), min(1.0, float(margin[row]))) for row in rows]


def left_out(space: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return each image's class scores, by a fit to all others.

    double n x classes: about 1 for a class that is certain, and 0. Every class weighs the same.
    """
    kernel = _Kernel(space)
    weights = (len(labels) / classes / labels.bincount(minlength=classes).clamp_min(1)).double()[labels]
    targets = torch.nn.functional.one_hot(labels, classes).double() - 1 / classes
    system, right = RIDGE * kernel.of_landmarks, torch.zeros(len(kernel.landmarks), classes, dtype=torch.double)
    for rows in torch.split(torch.arange(len(space)), BLOCK):
        weighted = kernel.with_landmarks(space[rows]).T * weights[rows]
        system = system + weighted @ kernel.with_landmarks(space[rows])
        right += weighted @ targets[rows]
    inverse = torch.linalg.inv(system)
    parts = []
    for rows in torch.split(torch.arange(len(space)), BLOCK):
        compared = kernel.with_landmarks(space[rows])
        leverage = ((compared @ inverse) * compared).sum(1) * weights[rows]
        fitted = compared @ (inverse @ right)
        leverage = leverage.clamp(0, 0.999)[:, None]
        parts.append((fitted - leverage * targets[rows]) / (1 - leverage) + 1 / classes)
    return torch.cat(parts)


class _Kernel:
    def __init__(self, space: Tensor) -> None:
        chosen = torch.randperm(len(space), generator=torch.Generator().manual_seed(SEED))[:LANDMARKS]
        self.landmarks = space[chosen]
        squared = torch.cdist(self.landmarks, self.landmarks).square()
        self._scale = WIDTH / squared.median().clamp_min(1e-6)
        self.of_landmarks = (-self._scale * squared).exp().double()
        self.of_landmarks += 1e-6 * torch.eye(len(chosen), dtype=torch.double)  # of equal images it is singular

    def with_landmarks(self, images: Tensor) -> Tensor:
        return (-self._scale * torch.cdist(images, self.landmarks).square()).exp().double()
