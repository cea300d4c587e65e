"""Find images that are like no other of their class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.checkup.space import similarities

MIN_IMAGES = 10  # of a class: fewer do not show what is usual
FAR_OUT = 3.0  # interquartile ranges beyond the upper quartile (Tukey 1977)


@dataclass(frozen=True)
class Unusual:
    image: int  # its row
    score: float  # cosine distance to the most similar other image of its class


@torch.inference_mode()
def find(directions: Tensor, labels: Tensor) -> list[Unusual]:
    """List images far from their class, the farthest first.

    ``directions``: float n x d, of length 1.
    """
    found = []
    for label in torch.unique(labels):
        rows = (labels == label).nonzero()[:, 0]
        if len(rows) >= MIN_IMAGES:
            distances = _to_nearest(directions[rows])
            lower, upper = distances.quantile(torch.tensor([0.25, 0.75]))
            for place in (distances > upper + FAR_OUT * (upper - lower)).nonzero()[:, 0].tolist():
                found.append(Unusual(int(rows[place]), float(distances[place])))
    return sorted(found, key=lambda one: -one.score)


def _to_nearest(images: Tensor) -> Tensor:
    parts = []
    for start, alike in similarities(images):
        rows = torch.arange(len(alike))
        alike[rows, start + rows] = -1
        parts.append(1 - alike.amax(1))
    return torch.cat(parts)
