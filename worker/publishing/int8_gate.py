"""Decide whether an int8 graph answers as well as its network does.

Both answer the same images, so that the answers are compared in pairs: few images show more that way than two
accuracies do. McNemar 1947, "Note on the sampling error of the difference between correlated proportions", exact.
"""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from worker.evaluation.metrics import wilson

SIGNIFICANCE = 0.05  # a loss less probable than this, were both equally accurate, is no chance
MIN_AGREEMENT = 0.98  # of the images that both answer alike
MAX_SHIFT = 0.02  # of the probabilities, on average: half the sum of their differences for an image


@dataclass(frozen=True)
class Comparison:
    """Counts of a network's and an int8 graph's answers to the same images."""

    images: int
    fp32_right: int
    lost: int  # images on which the network alone is right
    gained: int  # images on which the int8 graph alone is right
    same: int  # images with the same answer
    shift: float  # of an image's probabilities, on average: 0 to 1

    @property
    def chance(self) -> float:
        """Return the p-value of the loss, if both are equally accurate."""
        differing = self.lost + self.gained
        as_bad: int = sum(math.comb(differing, lost) for lost in range(self.lost, differing + 1))
        return as_bad / (1 << differing)

    @property
    def objection(self) -> str | None:
        """Say what the int8 graph does wrong; None if nothing."""
        if self.chance < SIGNIFICANCE:
            return "is less accurate"
        _, likely = wilson(self.same, self.images)
        if likely < MIN_AGREEMENT:
            return f"answers fewer than {MIN_AGREEMENT:.0%} of the images as fp32 does"
        if not self.shift <= MAX_SHIFT:  # nan too
            return f"shifts the probabilities by more than {MAX_SHIFT}"
        return None

    @property
    def counts(self) -> str:
        """Describe the counts in a clause."""
        return (
            f"of {self.images} validation and training images {self.same} get the same answer, {self.lost} only fp32 "
            f"answers rightly and {self.gained} only int8 (chance: {self.chance:.2g}), and the probabilities shift by "
            f"{self.shift:.2g}"
        )

    def record(self) -> dict[str, Any]:
        """Make the entry of the model's card."""
        return {
            "images": self.images,
            "network": self.fp32_right / self.images,
            "int8": (self.fp32_right - self.lost + self.gained) / self.images,
            "same_answer": self.same / self.images,
            "only_fp32_right": self.lost,
            "only_int8_right": self.gained,
            "chance": self.chance,
            "probability_shift": self.shift,
        }


def compare(fp32: Tensor, int8: Tensor, labels: Tensor) -> Comparison:
    """Compare two engines' logits, n x classes, for the same images."""
    answers, others = fp32.argmax(1), int8.argmax(1)
    right, other_right = answers == labels, others == labels
    return Comparison(
        images=len(labels),
        fp32_right=int(right.sum()),
        lost=int((right & ~other_right).sum()),
        gained=int((~right & other_right).sum()),
        same=int((answers == others).sum()),
        shift=float((fp32.softmax(1) - int8.softmax(1)).abs().sum(1).mean() / 2),
    )
