"""Early stopping, computed from the history alone.

So a resumed run needs nothing else.
"""

import math
from collections.abc import Sequence
from typing import Any

from core.recipes.shared_fields import EarlyStopping


def stopping_epoch(history: Sequence[dict[str, Any]], rule: EarlyStopping | None) -> int | None:
    """Return the epoch after which patience ran out, None if never.

    It runs out after ``patience`` epochs in a row that were no better on the validation split than the best before.
    Without a ``min_delta``, the same score with a lower loss is better: a few photos may all be right from the start.
    """
    best, lowest, waited = -1.0, math.inf, 0
    for number, metrics in enumerate(history, start=1):
        score, loss = metrics["validation_score"], metrics["validation_loss"]
        if rule is None or score is None:  # too few images to hold any back
            return None
        if score > best + rule.min_delta or (rule.min_delta == 0 and score == best and loss < lowest):
            best, lowest, waited = score, loss, 0
        else:
            waited += 1
        if waited >= rule.patience:
            return number
    return None
