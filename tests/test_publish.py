"""worker.publish: the files of a model, and the proof that they answer as the network does."""

import json
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import load
from torch import Tensor, nn

from core.errors import InternalFailure
from core.images import Preparation
from core.network import ServingGraph, build, from_arrays
from worker import publish
from worker.publish import OPSET, PARITY_TOLERANCE, export_onnx, model_files, parity

PREPARATION = Preparation(
    style="digit", height=28, width=28, channels=1, image_size=32, mean=(0.1, 0.2, 0.3), std=(0.3, 0.4, 0.5)
)
CARD: dict[str, Any] = {"id": "model_1", "metrics": {"test_accuracy": 0.5}}


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (70, 28, 28, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A real one, as training leaves it: in channels_last, in training mode, its statistics used."""
    torch.manual_seed(0)
    made = build("resnet18", 10).to(memory_format=torch.channels_last)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # the blocks begin as the identity: a graph without them would pass
    made.train()(torch.randn(16, 3, 32, 32))
    return made


@pytest.fixture(scope="module")
def files(network: nn.Module, images: Tensor) -> dict[str, bytes]:
    return model_files(network, PREPARATION, CARD, images)


def graph_of(network: nn.Module) -> ServingGraph:
    return ServingGraph(PREPARATION, network).eval()


def session_of(files: dict[str, bytes]) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(files["model.onnx"], providers=["CPUExecutionProvider"])


def test_a_model_is_weights_graph_and_card(files: dict[str, bytes]) -> None:
    assert set(files) == {"weights.safetensors", "model.onnx", "model.json"}


def test_the_card_says_how_far_graph_and_network_differ(files: dict[str, bytes]) -> None:
    card = json.loads(files["model.json"])
    assert card["parity"]["images"] == 64
    assert 0 <= card["parity"]["largest_difference"] < 1e-4
    assert card | CARD == card


def test_the_weights_are_the_networks_own(files: dict[str, bytes], network: nn.Module) -> None:
    saved = from_arrays(load(files["weights.safetensors"]))
    assert saved.keys() == network.state_dict().keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("batch", [1, 7, 70])
def test_the_graph_answers_any_number_of_images(
    files: dict[str, bytes], network: nn.Module, images: Tensor, batch: int
) -> None:
    logits = np.asarray(session_of(files).run(None, {"images": images[:batch].numpy()})[0])
    assert logits.shape == (batch, 10)
    restored = build("resnet18", 10)
    restored.load_state_dict(network.state_dict())
    with torch.inference_mode():
        np.testing.assert_allclose(logits, graph_of(restored)(images[:batch]).numpy(), atol=1e-4)


def test_the_graph_takes_bytes_and_names_its_ends(files: dict[str, bytes]) -> None:
    session = session_of(files)
    (asked,), (given,) = session.get_inputs(), session.get_outputs()
    assert (asked.name, asked.type, asked.shape[1:]) == ("images", "tensor(uint8)", [28, 28, 1])
    assert (given.name, given.type, given.shape[1:]) == ("logits", "tensor(float)", [10])


def test_the_graph_has_no_weights_elsewhere_and_a_fixed_version(files: dict[str, bytes]) -> None:
    import onnx

    model = onnx.load_from_string(files["model.onnx"])
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_the_network_is_left_as_it_was(files: dict[str, bytes], network: nn.Module) -> None:
    assert network.training
    kernel = network.get_parameter("conv1.weight")
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not kernel.is_contiguous()


def test_parity_sees_that_a_graph_is_another_networks(images: Tensor) -> None:
    def linear(seed: int) -> ServingGraph:
        torch.manual_seed(seed)
        return graph_of(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)))

    onnx = export_onnx(linear(0), images)
    assert parity(onnx, linear(0), images) < 1e-5
    assert parity(onnx, linear(1), images) > 10 * PARITY_TOLERANCE


def test_a_graph_that_answers_otherwise_is_not_published(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter drops what one weight does: here by exporting a copy in which it is another."""
    real = export_onnx

    def tampered(graph: ServingGraph, sample: Tensor) -> bytes:
        layer = graph.network.get_submodule("1")
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            layer.bias[3] += 0.5
            data = real(graph, sample)
            layer.bias[3] -= 0.5
        return data

    monkeypatch.setattr(publish, "export_onnx", tampered)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    with pytest.raises(InternalFailure, match="differs from the network"):
        model_files(network, PREPARATION, CARD, images)


def test_few_images_are_enough_to_compare_with(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    files = model_files(network, PREPARATION, CARD, images[:3])
    assert json.loads(files["model.json"])["parity"]["images"] == 3
