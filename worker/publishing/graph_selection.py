"""Select the graph that serves on a CPU, int8 or fp32.

int8 if it is faster and answers as well as the network (worker.publishing.int8_gate), else fp32.

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
from worker.publishing.int8_gate import Comparison, compare
from worker.publishing.quantization import NotQuantized, quantize
from worker.training.batched_forward import look

# images: with 64 to 512, a ResNet-50 on MNIST was as right as in fp32, to 4 images of 3,000. A photo has values in many
# more places: an EfficientNet-Lite0 had the same error with 8 to 128 of them.
CALIBRATION, CALIBRATION_PHOTOS, PHOTO_PX = 64, 16, 64
EXACT = (0.0, 0.1, 0.3)  # shares of the activations that stay in fp32, tried in turn
FASTER = 0.95  # of the time in fp32 that it may take: less gain may be chance
MIN_IMAGES, JUDGES = 100, 500  # that compare int8 with fp32: at least; where training images join, in total
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


@dataclass(frozen=True)
class Trial:
    """An int8 graph with its latencies and, if it is faster, its answers."""

    graph: bytes
    form: str  # the graph, in words
    latency_ms: Mapping[str, Mapping[str, float]]
    found: Comparison | None = None  # None: it is no faster
    ood_scores: Tensor | None = None  # of the first of the parts that judge

    @property
    def serves(self) -> bool:
        return self.found is not None and self.found.objection is None

    @property
    def reason(self) -> str:
        if self.found is None:
            return f"{self.form} is no faster here"
        return f"{self.form} {self.found.objection or 'is as accurate, and faster'}: {self.found.counts}"

    def measured(self) -> dict[str, Any]:
        return {"latency_ms": self.latency_ms} | ({"checked": self.found.record()} if self.found else {})


def choose(
    onnx: bytes,
    train: SampleOutputs,
    validation: SampleOutputs,
    limit_of: Callable[[Tensor], float] = threshold,
) -> GraphChoice:
    """Quantise the graph and choose int8 or fp32.

    int8 is compared with the network on validation and training images, never on test images. If its answers are
    worse, the layers whose values it rounds worst stay in fp32.
    """
    judges, fp32 = _judges(train, validation), session(onnx)
    trials: list[Trial] = []
    reasons: list[str] = []
    try:
        for exact in EXACT:
            trials.append(_try_int8(onnx, exact, train.part, judges, fp32))
            reasons.append(trials[-1].reason)
            if trials[-1].serves:
                return _in_int8(trials[-1], "; ".join(reasons), len(validation) > 0, limit_of)
            if trials[-1].found is None:
                break
    except NotQuantized as why:
        reasons.append(str(why))
    image = train.part.some([0]).cpu().numpy()
    measured = trials[-1].measured() if trials else {"latency_ms": latencies({"fp32": fp32}, image)}
    about = {"file": FP32_GRAPH, "precision": "fp32", "threads": torch.get_num_threads()}
    return GraphChoice(onnx, about | measured | {"reason": "; ".join(reasons)})


def _judges(train: SampleOutputs, validation: SampleOutputs) -> list[SampleOutputs]:
    """Return all validation images, and training images up to JUDGES in total."""
    return [part for part in (validation, train.spread(max(0, JUDGES - len(validation)))) if len(part)]


def _try_int8(
    onnx: bytes, exact: float, images: Split, judges: Sequence[SampleOutputs], fp32: onnxruntime.InferenceSession
) -> Trial:
    """Quantise all but the share ``exact`` and measure the result.

    NotQuantized if it cannot be made, or judged.
    """
    count = sum(map(len, judges))
    if count < MIN_IMAGES:
        raise NotQuantized(f"{count} images are too few to judge an int8 graph by")
    graph = quantize(onnx, _calibration(images), exact)
    int8, form = session(graph), f"int8 with {exact:.0%} of its values in fp32" if exact else "int8"
    times = latencies({"fp32": fp32, "int8": int8}, images.some([0]).cpu().numpy())
    if not all(times["int8"][batch] < FASTER * times["fp32"][batch] for batch in times["fp32"]):
        return Trial(graph, form, times)
    served = [serve(graph_engine(int8), each.part) for each in judges]
    logits, labels = (torch.cat([getattr(each.answers, name) for each in served]) for name in ("logits", "labels"))
    found = compare(torch.cat([each.logits for each in judges]), logits, labels)
    return Trial(graph, form, times, found, served[0].ood_scores)


def _calibration(images: Split) -> Pixels:
    """Return the images that determine the ranges of activations."""
    found: Pixels = (
        images.spread(CALIBRATION_PHOTOS if images.images.shape[1] > PHOTO_PX else CALIBRATION).cpu().numpy()
    )
    return found


def _in_int8(trial: Trial, reason: str, is_validated: bool, limit_of: Callable[[Tensor], float]) -> GraphChoice:
    """Choose int8, with an OOD threshold of its own.

    Its scores are somewhat higher.
    """
    about = {"file": INT8_GRAPH, "precision": "int8", "threads": torch.get_num_threads()}
    record = about | trial.measured() | {"reason": reason}
    if trial.ood_scores is None or not is_validated:
        return GraphChoice(trial.graph, record)
    limit = limit_of(trial.ood_scores)
    return GraphChoice(trial.graph, record | {"ood_threshold": limit}, trial.ood_scores, limit)


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


def _timed(graph: onnxruntime.InferenceSession, images: Pixels) -> float:
    started = time.perf_counter()
    graph.run(["logits"], {"images": images})
    return time.perf_counter() - started
