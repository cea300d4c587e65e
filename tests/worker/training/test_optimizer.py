"""worker.training.optimizer: a step of the optimizer."""

from typing import Any

import pytest
import torch
from torch import nn

from core.recipes.recipe import ResolvedRecipe
from worker.training.optimizer import ScaledOptimizer

CPU = torch.device("cpu")


def moved(loss_scale: float, **fields: Any) -> float:
    """Return how far one step moves a weight.

    The weight's gradient is ``loss_scale``.
    """
    network = nn.Linear(1, 1, bias=False)
    before = network.weight.item()
    decided: dict[str, Any] = {
        "image_size": 16,
        "epochs": 1,
        "batch_size": 2,
        "learning_rate": 1.0,
        "augmentation": "none",
        "precision": "fp32",
        "device": "cpu",
        "momentum": 0.0,
        "weight_decay": 0.0,
    }
    recipe = ResolvedRecipe.model_validate(decided | fields)
    ScaledOptimizer(network, recipe, CPU).step(network(torch.ones(1, 1)).sum() * loss_scale)
    return abs(network.weight.item() - before)


def test_a_step_goes_as_far_as_rate_times_gradient() -> None:
    assert moved(30.0) == pytest.approx(30.0, rel=1e-5)


def test_a_gradient_that_is_too_long_is_cut_to_the_recipes_norm() -> None:
    assert moved(30.0, gradient_clipping=0.5) == pytest.approx(0.5, rel=1e-4)


def test_a_gradient_within_the_norm_is_left_as_it_is() -> None:
    assert moved(0.25, gradient_clipping=0.5) == pytest.approx(0.25, rel=1e-5)
