"""worker.early_stopping: when a training has had enough."""

from typing import Any

import pytest

from core.recipe import EarlyStopping
from worker.early_stopping import is_over


def history(*accuracies: float) -> list[dict[str, Any]]:
    return [{"validation_accuracy": accuracy} for accuracy in accuracies]


@pytest.mark.parametrize(
    ("accuracies", "over"),
    [
        ((), False),
        ((0.5,), False),
        ((0.5, 0.6, 0.7, 0.8), False),
        ((0.5, 0.5), False),
        ((0.5, 0.4, 0.3), True),
        ((0.5, 0.4, 0.6, 0.5), False),
        ((0.5, 0.4, 0.6, 0.5, 0.6), True),
        ((0.0, 0.0, 0.0), True),
    ],
)
def test_it_ends_after_two_epochs_without_a_rise(accuracies: tuple[float, ...], over: bool) -> None:
    assert is_over(history(*accuracies), EarlyStopping(patience=2)) is over


def test_a_rise_that_is_too_small_does_not_count() -> None:
    slow = history(0.50, 0.505, 0.51)
    assert is_over(slow, EarlyStopping(patience=2, min_delta=0.02))
    assert not is_over(slow, EarlyStopping(patience=2, min_delta=0.001))


def test_small_rises_count_once_they_add_up() -> None:
    assert not is_over(history(0.50, 0.51, 0.52, 0.53, 0.53), EarlyStopping(patience=3, min_delta=0.02))


def test_without_a_rule_it_is_never_over() -> None:
    assert not is_over(history(*[0.1] * 100), None)
