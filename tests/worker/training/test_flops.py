"""worker.training.flops: what a step computes."""

import pytest
import torch
from torch import nn

from core.inference.network import build
from worker.training import flops
from worker.training.flops import flop_per_image


def test_a_linear_layer_is_counted_three_times_over() -> None:
    layer = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    # forward, and the weights' gradient; nobody asks for the images'
    assert flop_per_image(layer, torch.zeros(1, 12)) == 2 * (2 * 12 * 5)


def test_what_is_frozen_costs_no_way_back() -> None:
    layers = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))
    whole = flop_per_image(layers, torch.zeros(1, 10))
    layers[0].requires_grad_(False)
    assert whole == 5 * 200
    assert flop_per_image(layers, torch.zeros(1, 10)) == 3 * 200


def test_a_norm_that_is_trained_costs_the_way_back_to_it() -> None:
    layers = nn.Sequential(nn.Linear(10, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 10, bias=False))
    layers[0].requires_grad_(False)
    assert flop_per_image(layers, torch.zeros(1, 10)) == 4 * 200  # the second layer's weights and input
    layers[1].requires_grad_(False)
    assert flop_per_image(layers, torch.zeros(1, 10)) == 3 * 200


def test_nothing_is_lost_by_leaving_out_norms_and_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        network, sample = build("shufflenet_v2_x0_5", 10), torch.zeros(1, 3, 32, 32)
    quick = flop_per_image(network, sample)
    monkeypatch.setattr(flops, "without_the_uncounted", lambda network: network)
    assert quick == flop_per_image(network, sample)


def test_resnet50_costs_what_is_published_of_it() -> None:
    # 4.09 billion multiplications with additions forward at 224 px; back, twice that less the images' gradient
    with torch.device("meta"):
        network, sample = build("resnet50", 1000), torch.zeros(1, 3, 224, 224)
    flop = flop_per_image(network, sample)
    assert flop == pytest.approx(3 * 2 * 4.09e9, rel=0.02)


def test_the_network_itself_is_not_touched() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    flop_per_image(network, torch.zeros(1, 3))
    assert not network.training
    assert network[0].weight.device.type == "cpu"
    assert network[0].weight.grad is None
    assert network.state_dict()["1.num_batches_tracked"].item() == 0
