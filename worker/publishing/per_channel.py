"""Give each output channel of an int8 graph's weights a scale of its own.

ONNX Runtime's per-channel quantisation makes the same numbers, but in a Python loop over all channels: 26,560 in a
ResNet-50. No torch here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

LEVELS = 64  # on each side of 0: 7 bits, see worker.publishing.quantization
LIMIT, MARGIN = 2**31 - 1, 1.0001  # of a bias in 32 bits, and by how much it stays within
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Int8Graph:
    """A graph in QDQ form, by the names of its parts."""

    stored: dict[str, TensorProto]
    made: dict[str, NodeProto]  # by their outputs

    def constant(self, name: str) -> NodeProto | None:
        """Return the node that dequantises a constant, if that makes the value ``name``."""
        node = self.made.get(name)
        is_one = node is not None and node.op_type == "DequantizeLinear" and node.input[0] in self.stored
        return node if is_one else None

    def scale(self, name: str) -> Array:
        """Return the scale that the value ``name`` is dequantised by."""
        return numpy_helper.to_array(self.stored[self.made[name].input[1]])

    def store(self, node: NodeProto, rounded: Array, scales: Array, axis: int) -> None:
        for name, array in zip(node.input, (rounded, scales, np.zeros(len(scales), rounded.dtype)), strict=True):
            self.stored[name].CopyFrom(numpy_helper.from_array(array, name))
        del node.attribute[:]
        node.attribute.append(onnx.helper.make_attribute("axis", axis))


def by_channel(int8: onnx.ModelProto, fp32: onnx.ModelProto) -> None:
    """Quantise the weights and biases of ``int8`` anew, in place.

    It has one scale for each tensor before, and one for each output channel of the weights afterwards. ``fp32``: the
    graph that it was made from.
    """
    stored = {tensor.name: tensor for tensor in int8.graph.initializer}
    graph = Int8Graph(stored, {node.output[0]: node for node in int8.graph.node})
    floats = {tensor.name: tensor for tensor in fp32.graph.initializer}
    origins = {node.name: node for node in fp32.graph.node if node.name}
    for node in int8.graph.node:
        axis = _channel_axis(node)
        constants = [graph.constant(name) for name in node.input[1:]]
        if axis is None or node.name not in origins or None in constants:
            continue
        weights, *bias = (numpy_helper.to_array(floats[name]) for name in origins[node.name].input[1:])
        if weights.ndim > 1:
            _store(graph, node, axis, weights, bias)


def _store(graph: Int8Graph, node: NodeProto, axis: int, weights: Array, bias: list[Array]) -> None:
    """Quantize a node's weights by channel, and its bias to match."""
    of_weights, *of_bias = (graph.made[name] for name in node.input[1:])
    scales = _scales(weights, axis)
    for made, values in zip(of_bias, bias, strict=True):
        of_input, exact = graph.scale(node.input[0]), values.astype(np.float64)
        smallest = MARGIN * np.abs(exact) / LIMIT / of_input.astype(np.float64)
        scales = np.maximum(scales, smallest.astype(np.float32))
        units = (of_input * scales).astype(np.float32)
        rounded = (exact / units.astype(np.float64)).round().clip(-LIMIT, LIMIT).astype(np.int32)
        graph.store(made, rounded, units, 0)
    shape = [-1 if place == axis else 1 for place in range(weights.ndim)]
    graph.store(of_weights, (weights / scales.reshape(shape)).round().clip(-128, 127).astype(np.int8), scales, axis)


def _channel_axis(node: NodeProto) -> int | None:
    """Return the axis of a node's weights that counts its outputs; None for a node without weights."""
    if node.op_type == "Gemm":
        return 0 if any(each.name == "transB" and each.i for each in node.attribute) else 1
    return {"Conv": 0, "MatMul": 1}.get(node.op_type)


def _scales(values: Array, axis: int) -> Array:
    others = tuple(place for place in range(values.ndim) if place != axis)
    scales = (np.abs(values).max(others) / LEVELS).astype(np.float32)
    return np.where(scales < np.finfo(np.float32).tiny, np.float32(1), scales)
