"""Shade confusion matrix cells and list the most frequent mistakes."""

import math
from collections.abc import Sequence

MAX_CLASSES = 26  # more columns are unreadable
MAX_MISTAKES = 20
SHADES = 9


def shade(count: int, images: int) -> int:
    """Compute a cell's shade from its share of the row.

    It grows with the root of the share, so that a single mistake shows.
    """
    return math.ceil(SHADES * math.sqrt(count / images)) if images else 0


def most_frequent_mistakes(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """List true class, predicted class and count, the largest count first.

    ``counts``: a row for each true class, a column for each predicted class.
    """
    pairs = [
        (classes[truth], classes[answer], count)
        for truth, row in enumerate(counts)
        for answer, count in enumerate(row)
        if count and truth != answer
    ]
    return sorted(pairs, key=lambda pair: pair[2], reverse=True)[:MAX_MISTAKES]
