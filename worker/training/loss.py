"""The loss, and weights for unequal classes."""

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
    """Return a batch's mean loss, each image weighted by its class.

    torch's own weights also lie within the smoothing term, where they pull every image to the rare classes: of 85
    photos with 4 of one class and a smoothing of 0.1, those of the other would be half that class.
    """
    if class_weights is None:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    losses = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    weights = class_weights[labels]
    return (losses * weights).sum() / weights.sum()


def balanced_class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return loss weights that give every class the same total.

    Their mean over the images is 1.
    """
    counts = torch.bincount(labels, minlength=classes).clamp_min(1)
    return len(labels) / (classes * counts.float())
