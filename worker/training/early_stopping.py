"""When a training, or a stage of it, ends early: a pure function of the history, so that resuming needs no more."""

from collections.abc import Sequence
from typing import Any

from core.recipe import EarlyStopping


def over_after(history: Sequence[dict[str, Any]], rule: EarlyStopping | None) -> int | None:
    """After how many epochs ``patience`` of them in a row were no better on the validation part than the best before
    them; None: not yet.
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
