"""A trained network -> an ONNX graph that takes canonical images, and proof that it answers as the network does."""

import copy
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

from core.errors import InternalFailure
from core.imaging.preparation import Preparation
from core.inference.network import ServingGraph, build, from_arrays
from core.inference.ood_score import Familiarity

OPSET = 18
PARITY_IMAGES = 64
PARITY_TOLERANCE = 1e-3  # of a probability


def export(
    network: nn.Module, preparation: Preparation, images: Tensor, familiarity: Familiarity | None = None
) -> tuple[bytes, dict[str, Any]]:
    """The graph in fp32, and how far its answers to those canonical images are from the network's.

    Raises InternalFailure when that is too far.
    """
    # on the CPU and in the plain layout, whatever it was trained in; a copy, since the caller's goes on being used
    plain = copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format)
    graph = ServingGraph(preparation, plain, familiarity).eval()
    _join_channels(graph, preparation)
    sample = images[:PARITY_IMAGES].cpu()
    onnx = export_onnx(graph, sample)
    difference = parity(onnx, graph, sample)
    if difference > PARITY_TOLERANCE:
        raise InternalFailure(f"The exported graph differs from the network by {difference:.2g} in a probability.")
    record = {"images": len(sample), "largest_difference": difference}
    if familiarity is None:
        return onnx, record
    return onnx, record | {"strangeness_largest_difference": strangeness_parity(onnx, graph, sample)}


def _join_channels(graph: ServingGraph, preparation: Preparation) -> None:
    """Three channels that always show the same become one, and so do the first layer's weights for them.

    Of an int8 ResNet-50 at 64 px that layer takes a twentieth of the time, and then half of it.
    """
    convolutions = [layer for layer in graph.network.modules() if isinstance(layer, nn.Conv2d)]
    first = [layer for layer in convolutions if layer.in_channels == 3 and layer.groups == 1]
    alike = preparation.channels == len({*preparation.mean}) == len({*preparation.std}) == 1
    if alike and len(first) == 1:  # as in any network of torchvision
        first[0].weight = nn.Parameter(first[0].weight.sum(1, keepdim=True))
        first[0].in_channels = graph.prepare.channels = 1


def export_onnx(graph: ServingGraph, sample: Tensor) -> bytes:
    """The graph as ONNX: input ``images`` uint8 [n, h, w, c], output ``logits`` float [n, classes].

    With a familiarity, the output ``strangeness`` float [n] too.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    for name in ("onnx_ir", "onnxscript"):  # they tell of every node that they look at
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        program = torch.onnx.export(
            graph,
            (sample[:2],),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["logits"] if graph.familiarity is None else ["logits", "strangeness"],
            dynamic_shapes={"images": {0: torch.export.Dim.DYNAMIC}},
            verbose=False,
        )
    if program is None:
        raise InternalFailure("The exporter gave no program.")
    data: bytes = program.model_proto.SerializeToString()
    return data


def filled(
    weights: Mapping[str, npt.NDArray[Any]], network: str, classes: int, preparation: Preparation
) -> ServingGraph:
    """Of a network that knows nothing of the training but these weights."""
    made = build(network, classes, preparation.image_size)
    made.load_state_dict(from_arrays(weights))
    return ServingGraph(preparation, made).eval()


def check(stored: ServingGraph, onnx: bytes, images: Tensor) -> float:
    """How far apart the answers of stored weights and exported graph are; InternalFailure when that is too far."""
    difference = parity(onnx, stored, images.cpu())
    if not difference <= PARITY_TOLERANCE:  # nan too
        raise InternalFailure(f"The stored weights differ from the graph by {difference:.2g} in a probability.")
    return difference


@torch.inference_mode()
def parity(onnx: bytes, graph: ServingGraph, images: Tensor) -> float:
    """The largest difference between two probabilities that network and exported graph give for the same image."""
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (served,) = session.run(["logits"], {"images": images.numpy()})
    own = graph.look(images)[0].softmax(1).numpy()
    return float(np.abs(torch.from_numpy(served).softmax(1).numpy() - own).max())


@torch.inference_mode()
def strangeness_parity(onnx: bytes, graph: ServingGraph, images: Tensor) -> float:
    """The same of strangeness, as a share of it where it is above 1."""
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (served,) = session.run(["strangeness"], {"images": images.numpy()})
    _, own = graph(images)
    return float((np.abs(served - own.numpy()) / np.abs(own.numpy()).clip(1)).max())
