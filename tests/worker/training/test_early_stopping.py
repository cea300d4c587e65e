"""worker.training.early_stopping: when a training has had enough."""

from collections.abc import Sequence
from typing import Any

import pytest

from core.recipes.shared_fields import EarlyStopping
from worker.training.early_stopping import stopping_epoch


def history(*scores: float | None, losses: Sequence[float] | None = None) -> list[dict[str, Any]]:
    found = zip(scores, losses or [1.0] * len(scores), strict=True)
    return [{"validation_score": score, "validation_loss": loss} for score, loss in found]


@pytest.mark.parametrize(
    ("accuracies", "after"),
    [
        ((), None),
        ((0.5,), None),
        ((0.5, 0.6, 0.7, 0.8), None),
        ((0.5, 0.5), None),
        ((0.5, 0.4, 0.3), 3),
        ((0.5, 0.4, 0.6, 0.5), None),
        ((0.5, 0.4, 0.6, 0.5, 0.6), 5),
        ((0.0, 0.0, 0.0), 3),
        ((0.5, 0.4, 0.3, 0.9, 0.9), 3),
    ],
)
def test_it_ends_after_two_epochs_without_a_rise(accuracies: tuple[float, ...], after: int | None) -> None:
    assert stopping_epoch(history(*accuracies), EarlyStopping(patience=2)) == after


def test_a_rise_that_is_too_small_does_not_count() -> None:
    slow = history(0.50, 0.505, 0.51)
    assert stopping_epoch(slow, EarlyStopping(patience=2, min_delta=0.02)) == 3
    assert stopping_epoch(slow, EarlyStopping(patience=2, min_delta=0.001)) is None


def test_it_goes_on_while_the_loss_falls_at_the_same_score() -> None:
    rule = EarlyStopping(patience=2)
    assert stopping_epoch(history(1.0, 1.0, 1.0, 1.0, losses=(0.6, 0.5, 0.4, 0.3)), rule) is None
    assert stopping_epoch(history(1.0, 1.0, 1.0, 1.0, losses=(0.6, 0.5, 0.5, 0.7)), rule) == 4
    assert stopping_epoch(history(1.0, 0.9, 0.9, losses=(0.6, 0.5, 0.4)), rule) == 3  # lower, but not as good
    coarse = EarlyStopping(patience=2, min_delta=0.01)
    assert stopping_epoch(history(1.0, 1.0, 1.0, losses=(0.6, 0.5, 0.4)), coarse) == 3


def test_small_rises_count_once_they_add_up() -> None:
    assert stopping_epoch(history(0.50, 0.51, 0.52, 0.53, 0.53), EarlyStopping(patience=3, min_delta=0.02)) is None


def test_without_a_rule_it_is_never_over() -> None:
    assert stopping_epoch(history(*[0.1] * 100), None) is None


def test_without_a_validation_part_it_is_never_over() -> None:
    assert stopping_epoch(history(*[None] * 100), EarlyStopping(patience=2)) is None
