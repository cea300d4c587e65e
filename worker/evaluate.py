"""How good a network is on a part of the data."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from core.errors import LossNotFinite
from worker.data import Part, channels_last

BATCH = 256


@dataclass(frozen=True)
class Evaluation:
    loss: float  # mean cross-entropy
    accuracy: float
    confusion: list[list[int]]  # row: the true class, column: the answer

    def per_class(self, classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """Precision and recall of each class; None where nothing was answered or nothing was there."""
        table = torch.tensor(self.confusion)
        answered, present, right = table.sum(0).tolist(), table.sum(1).tolist(), table.diagonal().tolist()
        return [
            {
                "label": label,
                "images": present[index],
                "precision": right[index] / answered[index] if answered[index] else None,
                "recall": right[index] / present[index] if present[index] else None,
            }
            for index, label in enumerate(classes)
        ]


@torch.inference_mode()
def evaluate(network: nn.Module, prepare: nn.Module, part: Part, classes: int) -> Evaluation:
    """Loss, accuracy and confusion matrix, in fp32 whatever the network was trained in: as it will be served.

    Raises LossNotFinite: a network that has just diverged answers with no numbers.
    """
    network.eval()
    device = part.labels.device
    loss = torch.zeros((), device=device, dtype=torch.float64)
    confusion = torch.zeros(classes * classes, device=device, dtype=torch.int64)
    for images, labels in zip(torch.split(part.images, BATCH), torch.split(part.labels, BATCH), strict=True):
        logits = network(channels_last(prepare(images)))
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum")
        confusion += torch.bincount(labels * classes + logits.argmax(1), minlength=classes * classes)
    if not math.isfinite(loss.item()):
        raise LossNotFinite(f"The loss on {len(part)} images that were held back is {loss.item()}.")
    table = confusion.view(classes, classes)
    return Evaluation(
        loss=loss.item() / len(part), accuracy=table.trace().item() / len(part), confusion=table.cpu().tolist()
    )
