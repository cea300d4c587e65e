"""worker.training.freezing: frozen weights stay, and the two halves are the whole."""

import pytest
import torch
from torch import nn

from core.errors import InvalidRecipe
from core.inference.network import build
from worker.training.freezing import freeze, split_network, train_mode

FAMILIES = {  # of torchvision, each by a small member, with an image size that it takes
    "alexnet": 64,
    "resnet18": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "squeezenet1_1": 32,
    "efficientnet_b0": 32,
    "densenet121": 32,
    "shufflenet_v2_x0_5": 32,
    "mnasnet0_5": 32,
    "regnet_y_400mf": 32,
    "convnext_tiny": 32,
    "vgg11_bn": 32,
    "googlenet": 64,
    "swin_t": 64,
    "vit_b_32": 64,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_with_a_frozen_backbone_only_the_last_layer_is_trained(name: str) -> None:
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # RegNet reads its widths from a tensor
        network = build(name, 3)
    freeze(network, "backbone")
    layers = [key for key, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    trained = {key.rpartition(".")[0] for key, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {layers[-1]}


def test_a_heads_dropout_goes_on_with_its_last_layer() -> None:
    network = build("mobilenet_v3_small", 3)
    frozen = freeze(network, "backbone")
    train_mode(network, frozen)
    assert frozen[-1] == "classifier.1"
    assert [layer.training for layer in network.get_submodule("classifier").children()] == [False, False, True, True]


@pytest.mark.parametrize(("name", "side"), FAMILIES.items())
def test_the_halves_of_a_network_are_the_whole(name: str, side: int) -> None:
    network = build(name, 3, side).eval()
    halves = split_network(network, freeze(network, "backbone"))
    images = torch.rand(2, 3, side, side)
    torch.testing.assert_close(halves.rest(*halves.frozen(images)), network(images))
    assert not any(parameter.requires_grad for parameter in halves.frozen.parameters())
    assert len(halves.frozen(images)) == 1


def test_a_network_can_be_frozen_up_to_a_stage() -> None:
    network = build("resnet18", 3)
    frozen = freeze(network, "until:layer3")
    assert frozen[-1] == "layer3"
    assert not any(parameter.requires_grad for parameter in network.get_submodule("layer3").parameters())
    assert all(parameter.requires_grad for parameter in network.get_submodule("layer4").parameters())
    network.eval()
    halves = split_network(network, frozen)
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(halves.rest(*halves.frozen(images)), network(images))


@pytest.mark.parametrize(
    ("name", "side", "stage", "next_stage"),
    [
        ("vit_b_32", 64, "encoder.layers.encoder_layer_5", "encoder.layers.encoder_layer_6"),
        ("regnet_y_400mf", 32, "trunk_output.block2", "trunk_output.block3"),
        ("mnasnet0_5", 32, "layers.9", "layers.10"),
        ("maxvit_t", 224, "blocks.1", "blocks.2"),
    ],
)
def test_what_holds_nearly_all_of_a_network_has_stages_too(name: str, side: int, stage: str, next_stage: str) -> None:
    network = build(name, 3, side).eval()
    halves = split_network(network, freeze(network, f"until:{stage}"))
    assert not any(parameter.requires_grad for parameter in network.get_submodule(stage).parameters())
    assert all(parameter.requires_grad for parameter in network.get_submodule(next_stage).parameters())
    assert not any(parameter.requires_grad for parameter in halves.frozen.parameters())
    images = torch.rand(1, 3, side, side)
    torch.testing.assert_close(halves.rest(*halves.frozen(images)), network(images))


def test_features_have_stages_too() -> None:
    assert freeze(build("mobilenet_v2", 3), "until:features.2") == ["features.0", "features.1", "features.2"]


def test_a_stage_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(InvalidRecipe, match=r"no stage 'layer9'; it has conv1, bn1, .*layer4"):
        freeze(build("resnet18", 3), "until:layer9")


def test_the_two_halves_share_the_networks_weights() -> None:
    network = build("resnet18", 3)
    halves = split_network(network, freeze(network, "backbone"))
    with torch.no_grad():
        next(halves.rest.parameters()).zero_()
    assert not network.get_submodule("fc").get_parameter("weight").any()


def test_a_frozen_batch_norm_keeps_its_statistics() -> None:
    network = build("resnet18", 3)
    frozen = freeze(network, "until:layer1")
    train_mode(network, frozen)
    norms = {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert not norms["layer1.0.bn1"].training
    assert norms["layer2.0.bn1"].training


def test_chance_in_what_is_trained_follows_the_mode() -> None:
    network = build("efficientnet_b0", 3)
    halves = split_network(network, freeze(network, "until:features.3"))
    (features,) = halves.frozen.eval()(torch.rand(2, 3, 32, 32))
    halves.rest.train()
    assert not torch.equal(halves.rest(features), halves.rest(features))
    halves.rest.eval()
    assert torch.equal(halves.rest(features), halves.rest(features))
