"""worker.training.lr_schedule: rates that depend on the step alone."""

from typing import Literal

import pytest
import torch
from torch import nn

from worker.training.lr_schedule import END_DIVISOR, START_DIVISOR, learning_rate, parameter_groups

Kind = Literal["onecycle", "cosine", "step", "constant"]
KINDS: tuple[Kind, ...] = ("onecycle", "cosine", "step", "constant")


def curve(kind: Kind, steps: int = 100, warmup: float = 0.2, peak: float = 2.0) -> list[float]:
    return [learning_rate(kind, peak, step, steps, warmup) for step in range(steps)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_curve_rises_to_its_peak_and_never_above_it(kind: Kind) -> None:
    rates = curve(kind)
    assert rates[0] == pytest.approx(2.0 / START_DIVISOR)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20] == max(rates) == pytest.approx(2.0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_curve_rises_again(kind: Kind) -> None:
    falling = curve(kind)[20:]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize(
    ("kind", "last"), [("onecycle", 2.0 / END_DIVISOR), ("cosine", 0.0), ("step", 0.02), ("constant", 2.0)]
)
def test_every_curve_ends_where_it_should(kind: Kind, last: float) -> None:
    assert curve(kind)[-1] == pytest.approx(last)


@pytest.mark.parametrize("kind", ["onecycle", "cosine"])
def test_half_way_down_is_half_the_rate(kind: Kind) -> None:
    rates = curve(kind, steps=101, warmup=0)
    assert rates[50] == pytest.approx((rates[0] + rates[-1]) / 2)


def test_steps_drop_to_a_tenth_twice() -> None:
    rates = curve("step", steps=91, warmup=0, peak=1.0)
    assert [round(rates[step], 6) for step in (0, 29, 30, 59, 60, 90)] == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]


def test_one_cycle_without_warmup_is_torchs_own_second_half() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=2.0, total_steps=100, pct_start=0.21, div_factor=25, final_div_factor=END_DIVISOR / 25
    )
    rates = []
    for _ in range(100):
        rates.append(theirs.get_last_lr()[0])
        optimizer.step()
        if len(rates) < 100:
            theirs.step()
    assert curve("onecycle") == pytest.approx(rates, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
def test_the_shortest_runs_have_rates_too(kind: Kind, steps: int, warmup: float) -> None:
    rates = curve(kind, steps, warmup)
    assert all(0 <= rate <= 2.0 for rate in rates)
    assert rates[0] > 0


def test_decay_is_for_matrices_and_kernels_alone() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 3))
    decayed, spared = parameter_groups(network, 0.01)
    assert [tuple(parameter.shape) for parameter in decayed["params"]] == [(2, 1, 3, 3), (3, 2)]
    assert [tuple(parameter.shape) for parameter in spared["params"]] == [(2,), (2,), (2,), (3,)]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)


def test_a_frozen_parameter_is_in_no_group() -> None:
    network = nn.Linear(2, 3)
    network.weight.requires_grad = False
    groups = parameter_groups(network, 0.01)
    assert [parameter for group in groups for parameter in group["params"]] == [network.bias]
