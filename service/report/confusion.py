"""Which classes a model takes for which. Many classes: only what it confuses most."""

import math
from collections.abc import Sequence

from service.report.html import Html, el, table

MOST_CLASSES = 26  # of which a table can still be read
WORST = 20  # pairs that are shown of more
SHADES = 9


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Html:
    """``counts``: a row for each true class, a column for each answer."""
    return _matrix(counts, classes) if len(classes) <= MOST_CLASSES else _worst(counts, classes)


def _matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Html:
    rows = [
        [classes[truth], *(_cell(count, sum(row), answer == truth) for answer, count in enumerate(row))]
        for truth, row in enumerate(counts)
    ]
    caption = "Rows: the true class; columns: the answer. Framed: right."
    return table(caption, ["", *classes], rows, "confusion")


def _cell(count: int, images: int, right: bool) -> Html:
    """Darker, the larger its share of the row; the root, so that a single mistake shows."""
    shade = math.ceil(SHADES * math.sqrt(count / images)) if images else 0
    return el("span", str(count or "·"), class_=f"cell shade-{shade} {'right' if right else 'wrong'}")


def _worst(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Html:
    pairs = [
        (count, classes[truth], classes[answer])
        for truth, row in enumerate(counts)
        for answer, count in enumerate(row)
        if count and truth != answer
    ]
    most = sorted(pairs, key=lambda pair: pair[0], reverse=True)[:WORST]
    if not most:
        return el("p", "No mistakes on the test set.")
    rows = [(truth, answer, str(count)) for count, truth, answer in most]
    return table("The most frequent mistakes", ["Truth", "Answer", "Images"], rows)
