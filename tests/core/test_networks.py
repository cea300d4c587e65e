"""core.networks: the tables that need no torch, held against torchvision's own networks."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision import models
from torchvision.models import regnet

from core.inference.network import build
from core.networks import EFFICIENTNET_LITE0, MAX_WEIGHT_BYTES, NETWORKS, RATE_BATCH, TOO_LARGE, WEIGHT_DECAY, Optimizer
from worker.training import freezing
from worker.training.flops import without_the_uncounted
from worker.training.lr_schedule import parameter_groups

EVERY = (*NETWORKS, *TOO_LARGE)
# those whose smallest image matters, each by a small member
LIMITED = ("alexnet", "convnext_tiny", "densenet121", "inception_v3", "squeezenet1_0", "vgg11", "vgg11_bn")


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Build networks without weights.

    They have shapes and names alone, so that every one can be built.
    """
    widths = regnet.BlockParams.from_init_params  # reads numbers back, which a tensor without values does not have

    def on_the_cpu(**options: Any) -> regnet.BlockParams:
        with torch.device("cpu"):
            return widths(**options)

    monkeypatch.setattr(regnet.BlockParams, "from_init_params", on_the_cpu)
    with torch.device("meta"):
        yield


@cache
def built(name: str) -> nn.Module:
    return build(name, 1000)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_names_are_torchvisions_own_and_one_of_timm() -> None:
    assert sorted(set(EVERY) - {EFFICIENTNET_LITE0}) == models.list_models(module=models)
    assert list(NETWORKS) == sorted(NETWORKS)


@pytest.mark.usefixtures("meta")
def test_parameters_and_stages_are_those_of_the_network() -> None:
    for name, known in NETWORKS.items():
        network = built(name)
        assert (name, parameters(network)) == (name, known.parameters)
        assert (name, list(known.stages)) == (name, freezing._stages(network))


def test_photos_are_as_large_as_those_that_the_weights_are_made_for() -> None:
    ours = {name: [network.photo] for name, network in NETWORKS.items()}
    lite = timm.get_pretrained_cfg("tf_efficientnet_lite0")
    assert lite is not None
    assert ours.pop(EFFICIENTNET_LITE0) == [lite.input_size[-1]]
    assert ours == {name: models.get_model_weights(name)["DEFAULT"].transforms().crop_size for name in ours}
    assert {name: why for name, network in NETWORKS.items() if (why := network.refusal(network.photo))} == {}


def test_the_licence_is_the_one_that_torchvision_states() -> None:
    theirs = {
        name: models.get_model_weights(name)["DEFAULT"].meta.get("license")
        for name in set(NETWORKS) - {EFFICIENTNET_LITE0}
    }
    assert {NETWORKS[name].license for name in theirs} == {*theirs.values()} == {None}
    assert NETWORKS[EFFICIENTNET_LITE0].license == "Apache-2.0"


@pytest.mark.parametrize("name", TOO_LARGE)
@pytest.mark.usefixtures("meta")
def test_a_network_that_no_onnx_file_can_hold_is_not_offered(name: str) -> None:
    assert parameters(build(name, 2)) * 4 > MAX_WEIGHT_BYTES


@pytest.mark.parametrize("name", LIMITED)
@pytest.mark.usefixtures("meta")
def test_the_smallest_image_is_the_smallest_that_the_network_takes(name: str) -> None:
    network, smallest = without_the_uncounted(build(name, 10)), NETWORKS[name].traits.smallest
    assert network(torch.zeros(2, 3, smallest, smallest)).shape == (2, 10)
    with pytest.raises(RuntimeError, match="size"):
        network(torch.zeros(2, 3, smallest - 1, smallest - 1))


@pytest.mark.parametrize(("name", "side"), [("vit_b_16", 64), ("vit_b_32", 160), ("maxvit_t", 448)])
@pytest.mark.usefixtures("meta")
def test_a_network_of_patches_takes_every_multiple_of_them(name: str, side: int) -> None:
    assert NETWORKS[name].refusal(side) is None
    assert without_the_uncounted(build(name, 10, side))(torch.zeros(2, 3, side, side)).shape == (2, 10)


def test_an_image_size_is_refused_with_what_would_do() -> None:
    assert NETWORKS["alexnet"].refusal(62) == "alexnet needs at least 63 pixels, not 62"
    assert NETWORKS["vit_b_16"].refusal(100) == "vit_b_16 takes multiples of 16 pixels, not 100"


@pytest.mark.parametrize(("pretrained", "frozen"), [(True, False), (False, False), (True, True)])
def test_every_network_takes_the_sizes_that_are_chosen_for_it(pretrained: bool, frozen: bool) -> None:
    for name, network in NETWORKS.items():
        sides = [network.image_size(detail, pretrained, frozen) for detail in (8, 28, 224)]
        assert sides == sorted(sides), name
        assert [why for side in sides if (why := network.refusal(side))] == []


def test_only_weights_that_know_large_photos_are_shown_large_photos() -> None:
    assert [NETWORKS["efficientnet_b3"].image_size(500, pretrained) for pretrained in (True, False)] == [300, 224]


@pytest.mark.usefixtures("meta")
def test_sgd_is_for_networks_with_batch_norm_and_no_attention() -> None:
    for name, known in NETWORKS.items():
        layers = list(built(name).modules())
        norms = (nn.BatchNorm2d, nn.LayerNorm)
        normalised, attends = (any(isinstance(layer, kind) for layer in layers) for kind in norms)
        assert (known.traits.optimizer == "sgd") == (normalised and not attends), name


@pytest.mark.parametrize("optimizer", WEIGHT_DECAY)
def test_rates_are_lower_where_there_is_something_to_lose(optimizer: Optimizer) -> None:
    steady, delicate = NETWORKS["resnet50"], NETWORKS["swin_t"]
    for network in (steady, delicate):
        rates = [network.learning_rate(optimizer, pretrained, RATE_BATCH) for pretrained in (True, False)]
        assert rates[0] < rates[1]
    assert delicate.learning_rate(optimizer, False, 64) < steady.learning_rate(optimizer, False, 64)


@pytest.mark.usefixtures("meta")
def test_decay_is_for_the_weights_of_its_layers_alone() -> None:
    layers = (nn.Linear, nn.modules.conv._ConvNd)
    for name in NETWORKS:
        network = built(name)
        weights = [module.weight for module in network.modules() if isinstance(module, layers)]
        weights += [module.in_proj_weight for module in network.modules() if isinstance(module, nn.MultiheadAttention)]
        decayed, spared = (group["params"] for group in parameter_groups(network, 0.05))
        assert {id(parameter) for parameter in decayed} == {id(weight) for weight in weights}, name
        assert len(decayed) + len(spared) == len(list(network.parameters())), name
