"""When a training ends before its last epoch: a pure function of its history, so that resuming needs nothing else."""

from collections.abc import Sequence
from typing import Any

from core.recipe import EarlyStopping


def is_over(history: Sequence[dict[str, Any]], rule: EarlyStopping | None) -> bool:
    """Whether the last ``patience`` epochs were all no better on the validation part than the best before them."""
    if rule is None:
        return False
    best, waited = -1.0, 0
    for metrics in history:
        accuracy = metrics["validation_accuracy"]
        if accuracy > best + rule.min_delta:
            best, waited = accuracy, 0
        else:
            waited += 1
    return waited >= rule.patience
