"""Answers of a network on a split, and their metrics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import LossNotFinite
from worker.data.splits import Split, channels_last
from worker.training.batched_forward import look

Z = NormalDist().inv_cdf(0.975)  # of a 95 % interval, in standard deviations


@dataclass(frozen=True)
class Answers:
    """A network's logits for images whose classes are known; on the host."""

    logits: Tensor  # float32, n x classes
    labels: Tensor  # int64, n

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Evaluation:
    loss: float  # mean cross-entropy
    accuracy: float
    confusion_matrix: list[list[int]]  # row: the true class, column: the answer

    def per_class(self, classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """Compute precision, recall and F1 of each class.

        None if the denominator is 0: no image was answered with the class, was of the class, or both.
        """
        table = torch.tensor(self.confusion_matrix)
        answered, present, right = table.sum(0).tolist(), table.sum(1).tolist(), table.diagonal().tolist()
        return [
            {
                "label": label,
                "images": present[index],
                "precision": _ratio(right[index], answered[index]),
                "recall": _ratio(right[index], present[index]),
                "f1": _ratio(2 * right[index], answered[index] + present[index]),
            }
            for index, label in enumerate(classes)
        ]

    @property
    def counted(self) -> dict[str, Any]:
        """Return right answers, images, and the accuracy's 95 % interval."""
        each = self._right_of_each()
        correct, images = sum(right for right, _ in each), sum(count for _, count in each)
        low, high = wilson(correct, images)
        return {"correct": correct, "images": images, "low": low, "high": high}

    @property
    def accuracy_error(self) -> float:
        """The standard error of the accuracy."""
        right, images = zip(*self._right_of_each(), strict=True)
        return math.sqrt(_variance(sum(right), sum(images)))

    @property
    def macro_recall(self) -> float:
        """The mean recall of the classes that have images."""
        recalls = [right / images for right, images in self._right_of_each()]
        return sum(recalls) / len(recalls)

    @property
    def macro_recall_error(self) -> float:
        """The standard error of the macro recall."""
        each = self._right_of_each()
        return math.sqrt(sum(_variance(right, images) for right, images in each)) / len(each)

    def _right_of_each(self) -> list[tuple[int, int]]:
        """Return right answers and images of each class that has images."""
        rows = enumerate(self.confusion_matrix)
        return [(row[index], sum(row)) for index, row in rows if sum(row)]


def wilson(correct: int, images: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share by Wilson's score (1927).

    It never leaves 0..1.
    """
    share, extra = correct / images, Z**2 / images
    middle = share + extra / 2
    half = math.sqrt(extra * (share * (1 - share) + extra / 4))
    return max(0.0, (middle - half) / (1 + extra)), min(1.0, (middle + half) / (1 + extra))


def _variance(right: int, images: int) -> float:
    """Return the variance of a share, never 0.

    One image of either outcome is added (Laplace).
    """
    share = (right + 1) / (images + 2)
    return share * (1 - share) / (images + 2)


def macro(per_class: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Average the metrics over the classes that have images.

    A class that was never answered has precision 0 here.
    """
    present = [row for row in per_class if row["images"]]
    return {name: sum(row[name] or 0.0 for row in present) / len(present) for name in ("precision", "recall", "f1")}


@torch.inference_mode()
def predict(network: nn.Module, prepare: nn.Module, part: Split, classes: int) -> Answers:
    """Run the network over a split once, in fp32.

    In fp32 whatever it was trained in, as it will be served. Raises LossNotFinite: a network that has just diverged
    answers with no numbers.
    """
    network.eval()
    logits = torch.empty(len(part), classes, device=part.labels.device)  # stays there: the host waits once, at the end
    for start, seen in look(part, lambda images: network(channels_last(prepare(images)))):
        logits[start : start + len(seen)] = seen
    return Answers(finite(logits), part.labels.cpu())


def finite(logits: Tensor) -> Tensor:
    """Copy logits to the host, checking that they are finite.

    Raises LossNotFinite if one is infinite or not a number.
    """
    logits = logits.cpu()
    if not logits.isfinite().all():
        raise LossNotFinite(f"Some logits for {len(logits)} images that were held back are infinite or not a number.")
    return logits


def score(answers: Answers) -> Evaluation:
    logits, labels = answers.logits.double(), answers.labels
    classes = logits.shape[1]
    pairs = torch.bincount(labels * classes + logits.argmax(1), minlength=classes * classes)
    confusion = pairs.view(classes, classes)
    return Evaluation(
        loss=nn.functional.cross_entropy(logits, labels).item(),
        accuracy=confusion.trace().item() / len(answers),
        confusion_matrix=confusion.tolist(),
    )


def evaluate(network: nn.Module, prepare: nn.Module, part: Split, classes: int) -> Evaluation:
    """Compute loss, accuracy and confusion matrix; see ``predict``."""
    return score(predict(network, prepare, part, classes))


def _ratio(some: int, of_all: int) -> float | None:
    return some / of_all if of_all else None
