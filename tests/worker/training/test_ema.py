"""worker.training.ema: the running mean of the weights."""

import pytest
import torch
from torch import nn

from core.artifacts.manifest import Tensors
from worker.training.ema import EVERY, RAMP, WeightEma


def network(value: float) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    fill(layers, value)
    return layers


@torch.no_grad()
def fill(layers: nn.Module, value: float) -> None:
    for tensor in [*layers.parameters(), *layers.buffers()]:
        tensor.fill_(value)


def values(layers: nn.Module) -> set[float]:
    return {round(number, 5) for parameter in layers.parameters() for number in parameter.flatten().tolist()}


def test_the_mean_moves_a_share_of_the_way_to_the_weights() -> None:
    layers = network(0.0)
    mean = WeightEma(layers, 0.5 ** (1 / EVERY))
    fill(layers, 1.0)
    mean.update(EVERY * 1000)  # long after the ramp
    mean.swap()
    assert values(layers) == {0.5}


def test_the_first_steps_are_soon_forgotten() -> None:
    layers = network(0.0)
    mean = WeightEma(layers, 0.9999)
    fill(layers, 1.0)
    for step in range(1, 60):
        mean.update(step)
    mean.swap()
    assert min(values(layers)) > 0.99


def test_swapping_twice_gives_the_own_weights_back() -> None:
    layers = network(0.0)
    mean = WeightEma(layers, 0.9)
    fill(layers, 1.0)
    mean.swap()
    assert values(layers) == {0.0}
    mean.swap()
    assert values(layers) == {1.0}


def test_batchnorms_statistics_are_averaged_with_the_weights() -> None:
    layers = network(0.0)
    mean = WeightEma(layers, 0.9)
    fill(layers, 1.0)
    mean.swap()
    assert layers.state_dict()["1.running_mean"].tolist() == [0.0, 0.0]
    assert layers.state_dict()["1.num_batches_tracked"].item() == 1  # a count has no mean


def test_what_is_frozen_is_left_alone() -> None:
    layers = network(0.0)
    layers.get_submodule("0").requires_grad_(False)
    names = WeightEma(layers, 0.9).to_arrays()
    assert set(names) == {"raw.1.weight", "raw.1.bias", "raw.1.running_mean", "raw.1.running_var"}


def test_without_a_decay_there_is_no_mean() -> None:
    layers = network(0.0)
    mean = WeightEma(layers, 0.0)
    fill(layers, 1.0)
    mean.update(EVERY)
    mean.swap()
    assert values(layers) == {1.0}
    assert mean.to_arrays() == {}


def test_the_weights_that_are_out_of_the_network_can_be_kept_and_put_back() -> None:
    layers = network(0.0)
    mean = WeightEma(layers, 0.9)
    fill(layers, 1.0)
    mean.swap()
    kept: Tensors = {name: array.copy() for name, array in mean.to_arrays().items()}
    again = network(0.0)
    resumed = WeightEma(again, 0.9)
    resumed.from_arrays(kept)
    resumed.swap()
    assert values(again) == {1.0}


@pytest.mark.parametrize("step", [RAMP + step for step in range(1, EVERY)])
def test_between_two_updates_nothing_is_read(step: int) -> None:
    layers = network(0.0)
    mean = WeightEma(layers, 0.9)
    fill(layers, 1.0)
    mean.update(step)
    mean.swap()
    assert values(layers) == {0.0}
