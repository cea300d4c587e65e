"""worker.publishing.onnx_export: a network's graph, and proof that it answers alike."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer

import worker.publishing.onnx_export
from core.artifacts.manifest import from_tensors, to_tensors
from core.errors import InternalFailure
from core.imaging.preparation import Preparation
from core.inference.network import ServingGraph, build, to_arrays
from worker.publishing.onnx_export import (
    OPSET,
    PARITY_IMAGES,
    PARITY_TOLERANCE,
    Exported,
    check,
    compare,
    export,
    export_onnx,
    filled,
)
from worker.publishing.quantization import WITH_WEIGHTS, preparation_nodes

PREPARATION = Preparation(
    style="digit", height=28, width=28, channels=1, image_size=32, mean=(0.1, 0.2, 0.3), std=(0.3, 0.4, 0.5)
)

GREY = PREPARATION.model_copy(update={"mean": (0.1, 0.1, 0.1), "std": (0.3, 0.3, 0.3)})


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (70, 28, 28, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A real network as training leaves it.

    It is in channels_last and in training mode, and its statistics are used.
    """
    torch.manual_seed(0)
    made = build("resnet18", 10).to(memory_format=torch.channels_last)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # the blocks begin as the identity: a graph without them would pass
    made.train()(torch.randn(16, 3, 32, 32))
    return made


@pytest.fixture(scope="module")
def exported(network: nn.Module, images: Tensor) -> Exported:
    return export(network, PREPARATION, images)


@pytest.fixture(scope="module")
def onnx_graph(exported: Exported) -> bytes:
    return exported.onnx


def graph_of(network: nn.Module) -> ServingGraph:
    return ServingGraph(PREPARATION, network).eval()


def session_of(graph: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def test_nothing_is_logged_for_every_node(
    network: nn.Module, images: Tensor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for level in ("root", "onnx_ir", "onnxscript"):
        monkeypatch.setattr(logging.getLogger(level), "level", logging.INFO)
    export(network, PREPARATION, images)
    assert [record.name for record in caplog.records if record.name.startswith("onnx")] == []


def test_it_records_how_far_graph_and_network_differ(exported: Exported) -> None:
    assert exported.images == PARITY_IMAGES
    assert 0 <= exported.parity.probability < 1e-4
    assert exported.parity.ood_score is None


@pytest.mark.parametrize("batch", [1, 7, 70])
def test_the_graph_answers_any_number_of_images(
    onnx_graph: bytes, network: nn.Module, images: Tensor, batch: int
) -> None:
    logits = np.asarray(session_of(onnx_graph).run(None, {"images": images[:batch].numpy()})[0])
    assert logits.shape == (batch, 10)
    restored = build("resnet18", 10)
    restored.load_state_dict(network.state_dict())
    with torch.inference_mode():
        np.testing.assert_allclose(logits, graph_of(restored)(images[:batch]).numpy(), atol=1e-4)


def test_the_graph_takes_bytes_and_names_its_ends(onnx_graph: bytes) -> None:
    session = session_of(onnx_graph)
    (asked,) = session.get_inputs()
    assert (asked.name, asked.type, asked.shape[1:]) == ("images", "tensor(uint8)", [28, 28, 1])
    assert [(given.name, given.type, given.shape[1:]) for given in session.get_outputs()] == [
        ("logits", "tensor(float)", [10]),
        ("features", "tensor(float)", [512]),
    ]


def test_the_graph_gives_what_the_last_layer_sees(onnx_graph: bytes, network: nn.Module, images: Tensor) -> None:
    restored = build("resnet18", 10)
    restored.load_state_dict(network.state_dict())
    answers = session_of(onnx_graph).run(["logits", "features"], {"images": images.numpy()})
    logits, features = (np.asarray(answer) for answer in answers)
    assert isinstance(restored.fc, nn.Linear)
    with torch.inference_mode():
        np.testing.assert_allclose(restored.fc(torch.from_numpy(features)).numpy(), logits, atol=1e-4)


def test_a_graph_without_a_linear_last_layer_gives_no_features(images: Tensor) -> None:
    session = session_of(export(build("squeezenet1_1", 10).eval(), PREPARATION, images).onnx)
    assert [given.name for given in session.get_outputs()] == ["logits"]


def test_the_graph_has_no_weights_elsewhere_and_a_fixed_version(onnx_graph: bytes) -> None:
    import onnx

    model = onnx.load_from_string(onnx_graph)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_the_network_is_left_as_it_was(onnx_graph: bytes, network: nn.Module) -> None:
    assert network.training
    kernel = network.get_parameter("conv1.weight")
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not kernel.is_contiguous()


def first_channels(graph: bytes) -> int:
    """Count the channels that the first convolution takes."""
    model = onnx.load_from_string(graph)
    (name,) = [node.input[1] for node in model.graph.node if node.op_type == "Conv"][:1]
    (kernel,) = [weights for weights in model.graph.initializer if weights.name == name]
    return int(kernel.dims[1])


@pytest.mark.parametrize("kind", ["resnet18", "mobilenet_v3_small", "transformer"])
def test_grey_images_reach_the_first_layer_once(images: Tensor, kind: str) -> None:
    torch.manual_seed(0)
    transformer = VisionTransformer(32, 16, num_layers=2, num_heads=3, hidden_dim=48, mlp_dim=96, num_classes=10)
    network = transformer.eval() if kind == "transformer" else build(kind, 10, GREY.image_size).eval()
    graph = export(network, GREY, images).onnx
    assert first_channels(graph) == 1
    assert compare(graph, ServingGraph(GREY, network).eval(), images).probability < PARITY_TOLERANCE


@pytest.mark.parametrize(
    "changes",
    [{"channels": 3}, {"mean": (0.1, 0.1, 0.2)}, {"std": (0.3, 0.4, 0.3)}],
)
def test_colours_and_channels_with_scales_of_their_own_are_not_joined(images: Tensor, changes: dict[str, Any]) -> None:
    preparation = GREY.model_copy(update=changes)
    graph = export(build("resnet18", 10), preparation, images.expand(-1, -1, -1, preparation.channels)).onnx
    assert first_channels(graph) == 3


def pooled() -> nn.Module:
    """Make a network that pools to an indivisible side.

    The side is no divisor of the images', as with VGG and AlexNet: tracing has no form of it.
    """
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(196, 10))


def windowed() -> nn.Module:
    """A small Swin transformer."""
    return SwinTransformer([4, 4], 24, depths=[2, 2], num_heads=[3, 6], window_size=[7, 7], num_classes=10)


@pytest.mark.parametrize(
    ("made", "is_traced"), [(partial(build, "shufflenet_v2_x0_5", 10), True), (windowed, True), (pooled, False)]
)
def test_networks_that_cannot_be_traced_are_exported_otherwise(
    images: Tensor, made: Callable[[], nn.Module], is_traced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    network = made().eval()
    with caplog.at_level(logging.INFO, "worker.publishing.onnx_export"):
        exported = export(network, PREPARATION, images)
    assert [record.name for record in caplog.records] == ["worker.publishing.onnx_export"] * (not is_traced)
    assert compare(exported.onnx, graph_of(network), images).probability < 1e-4  # of 70, traced with 2
    session = session_of(exported.onnx)
    assert {end.shape[0] for end in (*session.get_inputs(), *session.get_outputs())} == {"batch"}


def test_parity_sees_that_a_graph_is_another_networks(images: Tensor) -> None:
    def linear(seed: int) -> ServingGraph:
        torch.manual_seed(seed)
        return graph_of(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)))

    onnx = export_onnx(linear(0), images)
    assert compare(onnx, linear(0), images).probability < 1e-5
    assert compare(onnx, linear(1), images).probability > 10 * PARITY_TOLERANCE


def test_a_graph_that_answers_otherwise_is_not_published(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that answers otherwise is not published.

    The exporter drops what one weight does: here by exporting a copy in which it is another.
    """
    real = export_onnx

    def tampered(graph: ServingGraph, sample: Tensor) -> bytes:
        layer = graph.head
        assert layer is not None
        with torch.no_grad():
            layer.bias[3] += 0.5
            data = real(graph, sample)
            layer.bias[3] -= 0.5
        return data

    monkeypatch.setattr(worker.publishing.onnx_export, "export_onnx", tampered)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    with pytest.raises(InternalFailure, match="differs from the network"):
        export(network, PREPARATION, images)


@pytest.fixture(scope="module")
def weights(network: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """Return a network's weights as they come back from the file."""
    return to_tensors(from_tensors(to_arrays(network)))


def test_stored_weights_alone_answer_as_the_graph_does(
    weights: dict[str, npt.NDArray[Any]], onnx_graph: bytes, images: Tensor
) -> None:
    assert check(filled(weights, "resnet18", 10, PREPARATION), onnx_graph, images) < 1e-4


def test_weights_of_another_epoch_are_not_published(
    weights: dict[str, npt.NDArray[Any]], onnx_graph: bytes, images: Tensor
) -> None:
    other = weights | {"fc.bias": weights["fc.bias"] + np.eye(10, dtype=np.float32)[3]}
    with pytest.raises(InternalFailure, match="stored weights differ"):
        check(filled(other, "resnet18", 10, PREPARATION), onnx_graph, images)


def test_few_images_are_enough_to_compare_with(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    assert export(network, PREPARATION, images[:3]).images == 3


@pytest.mark.filterwarnings("ignore")  # the exporters warn of themselves
def test_a_graph_that_makes_images_smaller_smooths_them_and_prepares_them_in_full_precision(images: Tensor) -> None:
    network = nn.Sequential(nn.Conv2d(3, 10, 20), nn.Flatten())
    smooth, rough = (
        ServingGraph(PREPARATION.model_copy(update={"image_size": size}), network).eval() for size in (20, 32)
    )
    rough.prepare._size, rough.prepare._antialias = 20, False
    for way in (worker.publishing.onnx_export._by_tracing, worker.publishing.onnx_export._by_torch_export):
        onnx_graph = way(smooth, images[:2], ["logits"])
        assert compare(onnx_graph, smooth, images).probability < PARITY_TOLERANCE
        assert compare(onnx_graph, rough, images).probability > 0.01
        model = onnx.load_from_string(onnx_graph)
        weighted = [node.name for node in model.graph.node if node.op_type in WITH_WEIGHTS]
        assert set(weighted) & set(preparation_nodes(model)) == set(weighted[:2])  # its lines, its columns; then Conv
