"""Early stopping, computed from the history alone, so that a resumed run needs nothing else."""

from collections.abc import Sequence
from typing import Any

from core.recipe import EarlyStopping


def stopping_epoch(history: Sequence[dict[str, Any]], rule: EarlyStopping | None) -> int | None:
    """Return the number of epochs after which patience ran out, None if it has not.

    It runs out after ``patience`` epochs in a row that were no better on the validation split than the best before.
    """
    best, waited = -1.0, 0
    for number, metrics in enumerate(history, start=1):
        accuracy = metrics["validation_accuracy"]
        if rule is None or accuracy is None:  # too few images to hold any back
            return None
        if accuracy > best + rule.min_delta:
            best, waited = accuracy, 0
        else:
            waited += 1
        if waited >= rule.patience:
            return number
    return None
