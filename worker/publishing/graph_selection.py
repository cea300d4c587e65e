"""Select the graph that serves on a CPU, int8 or fp32.

int8 if it is as accurate as the network and faster, else fp32.

None in bf16, whatever the CPU has: ONNX Runtime 1.32 has no bf16 kernel for Conv, MatMul or Gemm on a CPU.
"""

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from core.artifacts.model_files import FP32_GRAPH, INT8_GRAPH
from core.imaging.preparation import Pixels, Preparation
from core.inference.graph_outputs import FEATURES
from core.inference.network import ServingGraph
from core.inference.ood_score import Scorer
from worker.data.splits import Split
from worker.evaluation.metrics import Answers, finite
from worker.ood.fitting import SampleOutputs, threshold
from worker.publishing.quantization import NotQuantized, quantize
from worker.training.batched_forward import look

CALIBRATION = 128  # images: with 64 to 512 of them, a ResNet-50 on MNIST was as right as in fp32, to 4 images of 3,000
LOSS = 0.001  # of the accuracy that int8 may cost
FASTER = 0.95  # of the time in fp32 that it may take: less gain may be chance
MIN_IMAGES = 100  # to judge that by
BATCHES = (1, 8, 32)  # of the latency table
RUNS, MAX_MEASURING_S = 5, 2.0  # a batch that takes longer than this is not timed
ANSWER_BATCH = 32


@dataclass(frozen=True)
class Engine:
    """A way to run a model: an ONNX graph or the network."""

    run: Callable[[Tensor], Tensor]  # canonical images -> float n x classes; with OOD scores as one more column
    has_scores: bool


@dataclass(frozen=True)
class Served:
    """Answers and OOD scores of an engine.

    The scores are those before any threshold; None if it has none.
    """

    answers: Answers
    ood_scores: Tensor | None


@dataclass(frozen=True)
class GraphChoice:
    """The graph that serves on a CPU, and the record of why."""

    graph: bytes
    record: dict[str, Any]  # for the model's card
    validation_scores: Tensor | None = None  # in int8, n, before the threshold
    threshold: float = 1.0  # of its OOD scores

    @property
    def is_int8(self) -> bool:
        return bool(self.record["precision"] == "int8")


def choose(
    onnx: bytes,
    train: SampleOutputs,
    validation: SampleOutputs,
    limit_of: Callable[[Tensor], float] = threshold,
) -> GraphChoice:
    """Quantise the graph and choose int8 or fp32.

    Both are compared with the network on images that are not test images. Those are validation images; with few of
    them, training images too.
    """
    judges = [validation] if len(validation) >= MIN_IMAGES else [each for each in (validation, train) if len(each)]
    count, image = sum(map(len, judges)), train.part.some([0]).cpu().numpy()
    fp32 = session(onnx)
    try:
        if count < MIN_IMAGES:
            raise NotQuantized(f"{count} images are too few to judge an int8 graph by")
        graph = quantize(onnx, train.part.spread(CALIBRATION).cpu().numpy())
    except NotQuantized as why:
        return _in_fp32(onnx, {"latency_ms": latencies({"fp32": fp32}, image), "reason": str(why)})
    int8 = session(graph)
    served = [serve(graph_engine(int8), each.part) for each in judges]
    checked = _compared([each.answers for each in served], [each.logits for each in judges])
    times = latencies({"fp32": fp32, "int8": int8}, image)
    measured = {"checked": checked, "latency_ms": times}
    if checked["int8"] < checked["network"] - LOSS:
        return _in_fp32(onnx, measured | {"reason": f"int8 costs more than {LOSS:.1%} of accuracy: {_words(checked)}"})
    if not all(times["int8"][batch] < FASTER * times["fp32"][batch] for batch in times["fp32"]):
        return _in_fp32(onnx, measured | {"reason": "int8 is no faster here"})
    reason = f"int8 is as accurate, {_words(checked)}, and faster"
    scores = served[0].ood_scores if len(validation) else None
    return _in_int8(graph, measured | {"reason": reason}, scores, 1.0 if scores is None else limit_of(scores))


def _in_fp32(graph: bytes, measured: dict[str, Any]) -> GraphChoice:
    about = {"file": FP32_GRAPH, "precision": "fp32", "threads": torch.get_num_threads()}
    return GraphChoice(graph, about | measured)


def _in_int8(graph: bytes, measured: dict[str, Any], validation_scores: Tensor | None, limit: float) -> GraphChoice:
    """Choose int8, with an OOD threshold of its own.

    Its scores are somewhat higher.
    """
    about = {"file": INT8_GRAPH, "precision": "int8", "threads": torch.get_num_threads()}
    if validation_scores is None:
        return GraphChoice(graph, about | measured)
    return GraphChoice(graph, about | measured | {"ood_threshold": limit}, validation_scores, limit)


def serve(engine: Engine, part: Split) -> Served:
    """Run an engine once over every image of a part."""
    found = torch.cat([seen.cpu() for _, seen in look(part, engine.run)])
    logits, scores = (found[:, :-1], found[:, -1]) if engine.has_scores else (found, None)
    return Served(Answers(finite(logits), part.labels.cpu()), scores)


def graph_engine(graph: onnxruntime.InferenceSession) -> Engine:
    names = [output.name for output in graph.get_outputs() if output.name != FEATURES]

    def run(images: Tensor) -> Tensor:
        pieces = [graph.run(names, {"images": some.numpy()}) for some in torch.split(images.cpu(), ANSWER_BATCH)]
        return torch.cat([torch.column_stack([*map(torch.from_numpy, piece)]) for piece in pieces])

    return Engine(run, "ood_score" in names)


def network_engine(preparation: Preparation, network: nn.Module, ood_scorer: Scorer | None) -> Engine:
    """The network on the device that it was trained on."""
    device = next(network.parameters()).device
    graph = ServingGraph(preparation, copy.deepcopy(network), copy.deepcopy(ood_scorer)).eval().to(device)

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            found = graph(images)
        return found if ood_scorer is None else torch.column_stack(found)

    return Engine(run, ood_scorer is not None)


def latencies(graphs: Mapping[str, onnxruntime.InferenceSession], image: Pixels) -> dict[str, dict[str, float]]:
    """Measure each graph's latency by batch size, in milliseconds.

    Each is the median of runs that alternate between the graphs. ``image``: one, 1 x h x w x c, which fills the
    batches.
    """
    table: dict[str, dict[str, float]] = {name: {} for name in graphs}
    longest_s, count = 0.0, 1 + (RUNS if len(graphs) > 1 else 1)  # the first one warms up; one has no rival
    for batch in BATCHES:
        if longest_s * 4 > MAX_MEASURING_S:  # the next batch is four times as large, or more
            break
        images = image.repeat(batch, 0)
        runs = [{name: _timed(graph, images) for name, graph in graphs.items()} for _ in range(count)]
        for name in graphs:
            table[name][str(batch)] = round(1000 * statistics.median(run[name] for run in runs[1:]), 3)
        longest_s = max(table[name][str(batch)] for name in graphs) / 1000
    return table


def session(graph: bytes) -> onnxruntime.InferenceSession:
    """Load a graph with as many threads as torch uses."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _compared(int8: Sequence[Answers], network: Sequence[Tensor]) -> dict[str, Any]:
    """Compare the accuracy of int8 graph and network.

    Also how often both give the same answer. ``network``: the network's logits for the same images.
    """
    labels, own = torch.cat([answers.labels for answers in int8]), torch.cat([*network]).argmax(1)
    given = torch.cat([answers.logits for answers in int8]).argmax(1)
    shares = {"network": own == labels, "int8": given == labels, "same_answer": given == own}
    return {"images": len(labels), **{name: float(which.double().mean()) for name, which in shares.items()}}


def _timed(graph: onnxruntime.InferenceSession, images: Pixels) -> float:
    started = time.perf_counter()
    graph.run(["logits"], {"images": images})
    return time.perf_counter() - started


def _words(found: dict[str, Any]) -> str:
    return f"{found['int8']:.4f} against {found['network']:.4f} on {found['images']} held-back images"
