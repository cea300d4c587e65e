"""core.inference.network: torchvision's networks and the preparation in their graph.

The graph has half of the preparation.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from core.imaging.preparation import Preparation
from core.inference.network import Prepare, ServingGraph, build, from_arrays, load_matching, to_arrays


def preparation(**changes: Any) -> Preparation:
    plain = Preparation(
        style="plain", height=28, width=28, channels=1, image_size=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )
    return plain.model_copy(update=changes)


def images(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_bytes_become_fractions_of_one() -> None:
    black_and_white = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 28, 28, 1)
    seen = Prepare(preparation())(black_and_white)
    assert seen.dtype == torch.float32
    assert (seen[0].unique().tolist(), seen[1].unique().tolist()) == ([0.0], [1.0])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_sees_three_square_channels_of_its_size(channels: int) -> None:
    seen = Prepare(preparation(height=20, width=30, channels=channels, image_size=48))(images(2, 20, 30, channels))
    assert seen.shape == (2, 3, 48, 48)


def test_a_grey_image_is_the_same_in_every_channel() -> None:
    red, green, blue = Prepare(preparation())(images(2, 28, 28, 1)).unbind(1)
    assert torch.equal(red, green)
    assert torch.equal(red, blue)
    assert red.std() > 0.1


def test_colours_stay_in_their_channels() -> None:
    source = images(1, 32, 32, 3)
    seen = Prepare(preparation(height=32, width=32, channels=3))(source)
    assert torch.equal(seen[0, 2], source[0, :, :, 2].float() / 255)


def test_mean_and_deviation_are_each_channels_own() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    seen = Prepare(preparation(mean=mean, std=std))(torch.full((1, 28, 28, 1), 255, dtype=torch.uint8))
    expected = [(1 - m) / s for m, s in zip(mean, std, strict=True)]
    torch.testing.assert_close(seen.amax((0, 2, 3)), torch.tensor(expected))
    torch.testing.assert_close(seen.amin((0, 2, 3)), torch.tensor(expected))


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    source = images(1, 28, 28, 1)
    assert torch.equal(Prepare(preparation(image_size=28))(source)[0, 0], source[0, :, :, 0].float() / 255)


def test_resizing_is_bilinear_between_pixel_centres() -> None:
    row = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1).expand(1, 2, 2, 1)
    seen = Prepare(preparation(height=2, width=2, image_size=4))(row)
    torch.testing.assert_close(seen[0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_a_pattern_too_fine_for_a_smaller_image_becomes_grey() -> None:
    """Stripes too fine for a smaller image become grey.

    Picking single pixels would show the pattern as something else: here as stripes three times as wide.
    """
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(24).view(1, 1, 48, 1).expand(1, 48, 48, 1)
    seen = Prepare(preparation(height=48, width=48, image_size=16))(stripes)
    assert (seen - 0.5).abs().max() < 0.12


def test_mean_and_deviation_are_not_weights() -> None:
    assert Prepare(preparation()).state_dict() == {}


def test_the_serving_graph_prepares_then_answers() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    source = images(5, 28, 28, 1)
    logits = ServingGraph(preparation(), network)(source)
    assert logits.shape == (5, 4)
    assert torch.equal(logits, network(Prepare(preparation())(source)))


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("resnet18", 32),
        ("mobilenet_v3_small", 32),
        ("squeezenet1_1", 32),
        ("shufflenet_v2_x0_5", 32),
        ("efficientnet_b0", 32),
        ("mnasnet0_5", 32),
        ("googlenet", 32),
        ("densenet121", 64),
        ("convnext_tiny", 32),
        ("swin_t", 32),
    ],
)
def test_a_network_of_any_family_has_one_answer_a_class(name: str, side: int) -> None:
    with torch.device("meta"):  # shapes without the arithmetic; in training mode, where googlenet has side heads
        answer = build(name, 7)(torch.zeros(2, 3, side, side))
    assert isinstance(answer, Tensor)
    assert answer.shape == (2, 7)


@pytest.mark.parametrize(("name", "last"), [("resnet18", "bn2"), ("resnet50", "bn3")])
def test_every_residual_block_starts_as_the_identity(name: str, last: str) -> None:
    weights = {key: tensor for key, tensor in build(name, 2).state_dict().items() if ".bn" in key and "weight" in key}
    zero = {key for key, tensor in weights.items() if not tensor.any()}
    assert zero == {key for key in weights if key.endswith(f"{last}.weight")}
    assert zero


def test_arrays_carry_a_network_over() -> None:
    network, other = build("shufflenet_v2_x0_5", 3), build("shufflenet_v2_x0_5", 3)
    other.load_state_dict(from_arrays(to_arrays(network)))
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in network.state_dict().items())


def test_arrays_are_copies() -> None:
    arrays = {"weight": np.zeros(3, np.float32)}
    state = from_arrays(arrays)
    state["weight"] += 1
    assert not arrays["weight"].any()


def test_a_network_that_insists_on_a_version_takes_arrays_too() -> None:
    network, other = build("mnasnet0_5", 3), build("mnasnet0_5", 3)
    other.load_state_dict(from_arrays(to_arrays(network)))
    assert load_matching(other, dict(network.state_dict())) == []


def test_the_same_number_of_classes_leaves_nothing_out() -> None:
    network = build("resnet18", 3)
    assert load_matching(network, build("resnet18", 3).state_dict()) == []


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", {"fc.weight", "fc.bias"}),
        ("mobilenet_v3_small", {"classifier.3.weight", "classifier.3.bias"}),
        ("squeezenet1_1", {"classifier.1.weight", "classifier.1.bias"}),
    ],
)
def test_another_number_of_classes_leaves_only_the_head(name: str, head: set[str]) -> None:
    network, source = build(name, 3), build(name, 5).state_dict()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    assert set(load_matching(network, source)) == head
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key] if key in head else source[key])


def test_a_vision_transformer_knows_the_old_names_of_its_parts() -> None:
    from torchvision.models.vision_transformer import MLPBlock

    network = nn.ModuleDict({"mlp": MLPBlock(4, 8, 0.0)})
    names = {"0": "linear_1", "3": "linear_2"}
    old = {f"mlp.{names[key[4]]}.{key[6:]}": tensor + 1 for key, tensor in network.state_dict().items()}
    assert load_matching(network, old) == []
    assert torch.equal(network.state_dict()["mlp.3.weight"], old["mlp.linear_2.weight"])


def transformer(side: int) -> models.VisionTransformer:
    """Build a one-layer transformer for images of that side.

    It is thin; its patches have eight pixels.
    """
    return models.VisionTransformer(side, 8, 1, 1, hidden_dim=12, mlp_dim=4, num_classes=2)


def test_a_vision_transformer_is_built_for_its_image_size() -> None:
    with torch.device("meta"):
        assert build("vit_b_32", 3, 160)(torch.zeros(2, 3, 160, 160)).shape == (2, 3)


def test_positions_are_stretched_to_images_of_another_size() -> None:
    small, large = transformer(16), transformer(24)
    assert load_matching(large, small.state_dict()) == []
    class_token, *patches = large.encoder.pos_embedding[0]
    own_token, *own_patches = small.encoder.pos_embedding[0]
    assert torch.equal(class_token, own_token)
    for corner, own in zip((0, 2, 6, 8), own_patches, strict=True):
        torch.testing.assert_close(patches[corner], own)
    torch.testing.assert_close(patches[4], torch.stack(own_patches).mean(0))


@pytest.mark.parametrize("name", ["mnasnet0_5", "mobilenet_v3_small", "resnet18"])
def test_statistics_follow_the_data_within_a_short_training(name: str) -> None:
    norms = [module for module in build(name, 3).modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(norm.momentum == 0.1 for norm in norms)
