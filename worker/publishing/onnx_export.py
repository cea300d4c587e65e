"""Export a trained network to ONNX and compare the two.

The graph takes canonical images.

A network is traced: torch's newer exporter takes four times as long for a ResNet-50. That one exports what cannot be
traced, of VGG and AlexNet the pooling to a size that does not divide the map.
"""

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn
from torch.onnx.errors import OnnxExporterError

from core.errors import InternalFailure
from core.imaging.preparation import Preparation
from core.inference.network import ServingGraph, build, from_arrays
from core.inference.ood_score import Scorer

log = logging.getLogger(__name__)
OPSET = 18
BATCH_AXIS = "batch"
PARITY_IMAGES = 4  # with 16 photos at 224 px, comparing took twice as long as exporting
PARITY_TOLERANCE = 1e-3  # of a probability


@dataclass(frozen=True)
class Parity:
    """The largest differences between graph and network on the same images."""

    probability: float
    ood_score: float | None  # as a share of the score where that is above 1; None: the graph has none


@dataclass(frozen=True)
class Exported:
    """A graph in fp32, and how well it agrees with its network."""

    onnx: bytes
    parity: Parity
    images: int  # compared

    def record(self) -> dict[str, Any]:
        """Make the entry of the model's card."""
        found = {"images": self.images, "largest_difference": self.parity.probability}
        return found | ({} if (score := self.parity.ood_score) is None else {"ood_score_largest_difference": score})


def export(network: nn.Module, preparation: Preparation, images: Tensor, ood_scorer: Scorer | None = None) -> Exported:
    """Export a network to ONNX and compare on canonical images.

    The graph returns the OOD score too if there is a scorer, and the features if the last layer is linear. Raises
    InternalFailure when a probability differs too much.
    """
    # on the CPU and in the plain layout, whatever it was trained in; a copy, since the caller's goes on being used
    plain = copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format)
    graph = ServingGraph(preparation, plain, ood_scorer, with_features=True).eval()
    _join_channels(graph, preparation)
    sample = images[:PARITY_IMAGES].cpu()
    onnx = export_onnx(graph, sample)
    found = compare(onnx, graph, sample)
    if not found.probability <= PARITY_TOLERANCE:  # nan too
        raise InternalFailure(
            f"The exported graph differs from the network by {found.probability:.2g} in a probability."
        )
    return Exported(onnx, found, len(sample))


def _join_channels(graph: ServingGraph, preparation: Preparation) -> None:
    """Merge three equal input channels into one, with their weights.

    Only if the channels of all images are the same, as in grey ones. Of an int8 ResNet-50 at 64 px that layer takes a
    twentieth of the time, and then half of it.
    """
    convolutions = [layer for layer in graph.network.modules() if isinstance(layer, nn.Conv2d)]
    first = [layer for layer in convolutions if layer.in_channels == 3 and layer.groups == 1]
    alike = preparation.channels == len({*preparation.mean}) == len({*preparation.std}) == 1
    if alike and len(first) == 1:  # as in any network of torchvision
        first[0].weight = nn.Parameter(first[0].weight.sum(1, keepdim=True))
        first[0].in_channels = graph.prepare.channels = 1


def export_onnx(graph: ServingGraph, sample: Tensor) -> bytes:
    """Convert the graph to ONNX.

    Input ``images`` uint8 [batch, h, w, c], output ``logits`` float [batch, classes]. With a ood_scorer, the output
    ``ood_score`` float [batch] too; if the graph gives them, ``features`` float [batch, d].
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own deprecations
        try:
            return _by_tracing(graph, sample[:2], graph.outputs)
        except OnnxExporterError:
            log.info("the network cannot be traced; exporting it by torch.export")
            return _by_torch_export(graph, sample[:2], graph.outputs)


def _by_tracing(graph: ServingGraph, sample: Tensor, outputs: Sequence[str]) -> bytes:
    file = io.BytesIO()
    with torch.inference_mode(), _without_fast_attention():
        torch.onnx.export(
            graph,
            (sample,),
            file,  # type: ignore[arg-type] # which takes a file too
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=outputs,
            dynamic_axes={name: {0: BATCH_AXIS} for name in ("images", *outputs)},
        )
    return file.getvalue()


@contextmanager
def _without_fast_attention() -> Iterator[None]:
    """Let vision transformers run in operators that have an ONNX form."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _by_torch_export(graph: ServingGraph, sample: Tensor, outputs: Sequence[str]) -> bytes:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    for name in ("onnx_ir", "onnxscript"):  # they log every node that they look at
        logging.getLogger(name).setLevel(logging.WARNING)
    with torch.inference_mode():
        program = torch.onnx.export(
            graph,
            (sample,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=outputs,
            dynamic_shapes={"images": {0: BATCH_AXIS}},
            verbose=False,
        )
    if program is None:
        raise InternalFailure("The exporter returned no program.")
    data: bytes = program.model_proto.SerializeToString()
    return data


def filled(
    weights: Mapping[str, npt.NDArray[Any]], network: str, classes: int, preparation: Preparation
) -> ServingGraph:
    """Build a serving graph from stored weights alone, as the service would."""
    made = build(network, classes, preparation.image_size)
    made.load_state_dict(from_arrays(weights))
    return ServingGraph(preparation, made).eval()


def check(stored: ServingGraph, onnx: bytes, images: Tensor) -> float:
    """Compare the answers of stored weights and exported graph.

    Returns the largest difference of a probability; InternalFailure if it is too large.
    """
    difference = compare(onnx, stored, images.cpu()).probability
    if not difference <= PARITY_TOLERANCE:  # nan too
        raise InternalFailure(f"The stored weights differ from the graph by {difference:.2g} in a probability.")
    return difference


@torch.inference_mode()
def compare(onnx: bytes, graph: ServingGraph, images: Tensor) -> Parity:
    """Run the exported graph and its network on the same images."""
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    names = ["logits"] if graph.ood_scorer is None else ["logits", "ood_score"]
    served = session.run(names, {"images": images.numpy()})
    logits, features = graph.look(images)
    probabilities = (torch.from_numpy(served[0]).softmax(1) - logits.softmax(1)).abs().max().item()
    if graph.ood_scorer is None:
        return Parity(probabilities, None)
    own = graph.ood_scorer(images, features, logits).numpy()
    return Parity(probabilities, float((np.abs(served[1] - own) / np.abs(own).clip(1)).max()))
