"""Data frames; pandas is imported when one is made."""

from collections.abc import Mapping, Sequence
from typing import Any


def of_rows(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return the rows as a DataFrame."""
    return _pandas().DataFrame(list(rows))


def of_matrix(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Any:
    """Return a confusion matrix, its rows the true classes."""
    pandas = _pandas()
    actual, predicted = pandas.Index(classes, name="actual"), pandas.Index(classes, name="predicted")
    return pandas.DataFrame(matrix, index=actual, columns=predicted)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("A data frame needs pandas: pip install 'tuneserve[pandas]'") from error
    return pandas
