"""worker.publishing.quantization: an int8 graph answers as the fp32 one did."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_static
from torch import nn

from core.imaging.preparation import Preparation
from core.inference.network import ServingGraph, build
from core.inference.training_images import directions
from worker.publishing import quantization as module
from worker.publishing.onnx_export import export_onnx
from worker.publishing.quantization import NotQuantized, preparation_nodes, quantize, without_identities

PREPARATION = Preparation(
    style="photo", height=40, width=40, channels=3, image_size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3)
)


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (40, 40, 40, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def graph(images: npt.NDArray[np.uint8]) -> bytes:
    """A small network with everything that is quantised.

    It has convolutions, a sum, and a layer in the end.
    """
    torch.manual_seed(0)
    network = build("resnet18", 7)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
    return export_onnx(ServingGraph(PREPARATION, network).eval(), torch.from_numpy(images[:2]))


@pytest.fixture(scope="module")
def int8(graph: bytes, images: npt.NDArray[np.uint8]) -> bytes:
    return quantize(graph, images)


def answers(graph: bytes, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images})
    return np.asarray(logits)


def test_it_answers_as_the_graph_in_fp32(graph: bytes, int8: bytes, images: npt.NDArray[np.uint8]) -> None:
    wanted, given = answers(graph, images), answers(int8, images)
    spread = wanted.std(0).mean()
    assert given.shape == wanted.shape
    assert np.abs(given - wanted).mean() < 0.3 * spread
    assert np.corrcoef(given.ravel(), wanted.ravel())[0, 1] > 0.99


def test_the_logits_are_not_rounded_to_256_levels(int8: bytes) -> None:
    """The logits' layer is not quantised.

    One logit that is far out would take the levels from all others.
    """
    (last,) = (node for node in onnx.load_from_string(int8).graph.node if "logits" in node.output)
    assert last.op_type == "Gemm"


def test_its_features_find_the_neighbours_that_those_in_fp32_find() -> None:
    random = np.random.default_rng(0)
    scenes = random.integers(0, 256, (8, 5, 5, 3)).repeat(8, 1).repeat(8, 2)
    shown = (scenes[:, None] + random.normal(0, 12, (8, 5, 40, 40, 3))).clip(0, 255).astype(np.uint8)
    train, asked = shown[:, :4].reshape(-1, 40, 40, 3), shown[:, 4]
    torch.manual_seed(0)
    network = ServingGraph(PREPARATION, build("resnet18", 7), with_features=True).eval()
    fp32 = export_onnx(network, torch.from_numpy(train[:2]))
    known, wanted, given = (
        directions(features_of(graph, images))
        for graph, images in ((fp32, train), (fp32, asked), (quantize(fp32, train), asked))
    )
    nearest = [(found @ known.T).argmax(1) for found in (wanted, given)]
    assert nearest[0].tolist() == nearest[1].tolist()
    assert (nearest[0] // 4).tolist() == list(range(8))


def features_of(graph: bytes, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["features"], {"images": images})[0])


def test_it_is_a_quarter_as_large(graph: bytes, int8: bytes) -> None:
    assert len(int8) < 0.3 * len(graph)


@pytest.mark.parametrize("batch", [1, 5, 40])
def test_it_takes_any_number_of_images(int8: bytes, images: npt.NDArray[np.uint8], batch: int) -> None:
    np.testing.assert_allclose(answers(int8, images[:batch]), answers(int8, images)[:batch], atol=1e-4)


def test_the_images_are_prepared_in_full_precision(graph: bytes, int8: bytes) -> None:
    def types(model: onnx.ModelProto) -> list[str]:
        names = set(preparation_nodes(without_identities(onnx.load_from_string(graph))))
        return sorted(node.op_type for node in model.graph.node if node.name in names and node.op_type != "Constant")

    before, after = (types(without_identities(onnx.load_from_string(data))) for data in (graph, int8))
    assert before == after
    assert before.count("MatMul") == 2  # of a graph that makes images smaller: their lines, their columns


def test_weights_keep_a_bit_free_so_that_no_processor_saturates(int8: bytes) -> None:
    kernels = [
        numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(int8).graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 4
    ]
    assert len(kernels) == 20
    assert max(int(np.abs(kernel.astype(int)).max()) for kernel in kernels) <= 64


def test_what_leads_elsewhere_than_to_the_logits_stays_as_it_is(images: npt.NDArray[np.uint8]) -> None:
    def product(name: str, wide: int) -> tuple[onnx.NodeProto, onnx.TensorProto]:
        weights = np.random.default_rng(wide).normal(size=(12, wide)).astype(np.float32)
        return helper.make_node("MatMul", ["flat", f"{name}_weights"], [name], name=name), numpy_helper.from_array(
            weights, f"{name}_weights"
        )

    products = [product("logits", 3), product("beside", 2)]
    cast, flatten = (
        helper.make_node("Cast", ["images"], ["floats"], to=1),
        helper.make_node("Flatten", ["floats"], ["flat"]),
    )
    model = helper.make_model(
        helper.make_graph(
            [cast, flatten, *(node for node, _ in products)],
            "two_ends",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 2, 2, 3])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", w])
                for name, w in (("logits", 3), ("beside", 2))
            ],
            [weights for _, weights in products],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    made = onnx.load_from_string(quantize(model.SerializeToString(), images[:, :2, :2]))
    stored = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    assert stored["beside_weights"] == TensorProto.FLOAT
    assert "logits_weights" not in stored


def test_what_int8_rounds_worst_can_stay_in_fp32() -> None:
    """The values between two layers go to thousands in one place, which counts little, and to one elsewhere."""
    random = np.random.default_rng(0)
    weights = [random.normal(size=size).astype(np.float32) for size in ((12, 9), (9, 9), (9, 3))]
    weights[0][:, 0] *= 10_000
    weights[1][0] = 0
    names = ["flat", "between", "further", "logits"]
    nodes = [helper.make_node("Cast", ["images"], ["floats"], "cast", to=1)]
    nodes.append(helper.make_node("Flatten", ["floats"], ["flat"], "flatten"))
    nodes += [
        helper.make_node("MatMul", [given, f"weights_of_{made}"], [made], made) for given, made in pairwise(names)
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "outlier",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 2, 2, 3])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
            [numpy_helper.from_array(w, f"weights_of_{name}") for w, name in zip(weights, names[1:], strict=True)],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    graph, pixels = model.SerializeToString(), random.integers(0, 256, (40, 2, 2, 3)).astype(np.uint8)
    wanted = answers(graph, pixels)
    wrong, better = (np.abs(answers(quantize(graph, pixels, exact), pixels) - wanted).mean() for exact in (0.0, 0.3))
    assert wrong > 0.3 * wanted.std()
    assert better < 0.03 * wanted.std()


def test_each_channel_has_the_scale_that_onnx_runtime_would_give_it(
    graph: bytes, int8: bytes, images: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def theirs(*given: Any, **options: Any) -> None:
        quantize_static(*given, **options | {"per_channel": True})

    monkeypatch.setattr(module, "quantize_static", theirs)
    monkeypatch.setattr(module, "by_channel", lambda *_: None)
    model = without_identities(onnx.load_from_string(graph))
    left_out = [*preparation_nodes(model), *module.exact_nodes_beside(model), *module.means(model)]
    wanted, found = module._quantized(model, images, tmp_path, left_out), onnx.load_from_string(int8)
    assert [node.attribute for node in found.graph.node] == [node.attribute for node in wanted.graph.node]
    expected = {tensor.name: numpy_helper.to_array(tensor) for tensor in wanted.graph.initializer}
    for tensor in found.graph.initializer:
        np.testing.assert_allclose(numpy_helper.to_array(tensor), expected.pop(tensor.name), rtol=1e-6)
    assert not expected


def test_what_is_no_graph_is_refused_with_the_reason(images: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(NotQuantized, match=r"ended with exit code 1: .*protobuf"):
        quantize(b"this is no graph", images)


def test_a_graph_that_takes_too_much_memory_is_not_begun(
    graph: bytes, images: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_GRAPH_BYTES", 2**20)
    with pytest.raises(NotQuantized, match="too much memory above 1"):
        quantize(graph, images)


def test_one_that_takes_too_long_is_given_up(
    graph: bytes, images: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.01)
    with pytest.raises(NotQuantized, match="took longer"):
        quantize(graph, images)
