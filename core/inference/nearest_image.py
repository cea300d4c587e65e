"""Out-of-distribution score of photos: distance to the nearest training image.

Source: Sun et al. 2022.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

TINY = 1e-6  # of a cosine distance: less is rounding


class NearestImage(nn.Module):
    """Distance to the nearest training image, in units of the threshold.

    Features, float n x d -> ood_score, float n: 0 is a training image, from 1 on the model abstains. ``images``, k x d,
    are the training images' features, of length 1; ``threshold`` is a cosine distance.
    """

    images: Tensor
    threshold: Tensor

    def __init__(self, images: Tensor, threshold: Tensor) -> None:
        super().__init__()
        self.register_buffer("images", images)
        self.register_buffer("threshold", threshold)

    def forward(self, _images: Tensor, features: Tensor, _logits: Tensor) -> Tensor:
        return self.distances(features) / self.threshold

    def distances(self, features: Tensor) -> Tensor:
        """Return cosine distances to the nearest image, float n."""
        return 1 - (directions(features) @ self.images.T).amax(1)


def directions(features: Tensor) -> Tensor:
    """Scale features to length 1."""
    return functional.normalize(features.float(), dim=1, eps=TINY)


@torch.inference_mode()
def leave_one_out(images: Tensor) -> Tensor:
    """Return each image's cosine distance to the nearest other one.

    ``images``: k x d of length 1, at least two.
    """
    alike = images @ images.T
    alike.fill_diagonal_(-1)
    return 1 - alike.amax(1)
