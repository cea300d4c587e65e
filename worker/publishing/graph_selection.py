"""Which graph answers on a CPU: the int8 one where it is as right as the network and faster, else the one in fp32.

Not one in bf16, whatever the CPU has: ONNX Runtime 1.32 has no bf16 kernel for Conv, MatMul or Gemm on a CPU.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from core.artifacts.model_files import FP32_GRAPH, INT8_GRAPH
from core.imaging.preparation import Pixels
from worker.data.splits import Part
from worker.evaluation.metrics import Answers
from worker.publishing.quantization import NotQuantized, quantize

CALIBRATION = 128  # images: with 64 to 512 of them, a ResNet-50 on MNIST was as right as in fp32, to 4 images of 3,000
LOSS = 0.001  # of the accuracy that int8 may cost
FASTER = 0.95  # of the time in fp32 that it may take: less gain may be chance
MIN_IMAGES = 100  # test images, to judge that by
CHECK_FLOP = 3e13  # of the images it is judged by, as worker.training.flops counts: 20 s, or less, on two cores
BATCHES = (1, 8, 32)  # of the latency table
RUNS, MAX_MEASURING_S = 5, 2.0  # a batch that takes longer than this is not timed
ANSWER_BATCH = 32


@dataclass(frozen=True)
class Serving:
    """``graph``: beside model.onnx, if that is not what serves. ``record``: for the model's card."""

    graph: bytes | None
    record: dict[str, Any]
    tested: "Tested"  # what the graph that serves said of test images


@dataclass(frozen=True)
class Tested:
    answers: Answers
    strangeness: Tensor | None  # n, before any threshold; None: the graph does not tell it


def choose(onnx: bytes, train: Part, test: Part, answers: Answers, flop_per_image: float) -> Serving:
    """``answers``: the network's own, to all of ``test``."""
    image = test.some([0]).cpu().numpy()
    record = {"file": FP32_GRAPH, "precision": "fp32", "threads": torch.get_num_threads()}
    fp32, chosen = session(onnx), _some_of(test, flop_per_image)

    def in_fp32(reason: str, table: dict[str, dict[str, float]], **others: Tested) -> Serving:
        """Asked only then: that this graph answers as the network does has been shown already
        (worker.publishing.onnx_export).
        """
        tested = _ask(fp32, test, chosen)
        checked = _compared({"fp32": tested, **others}, answers, chosen)
        return Serving(None, record | {"checked": checked, "latency_ms": table, "reason": reason}, tested)

    try:
        if len(test) < MIN_IMAGES:
            raise NotQuantized(f"{len(test)} test images are too few to judge an int8 graph by")
        graph = quantize(onnx, train.spread(CALIBRATION).cpu().numpy())
    except NotQuantized as why:
        return in_fp32(str(why), latencies({"fp32": fp32}, image))
    int8 = session(graph)
    tested = _ask(int8, test, chosen)
    found = _compared({"int8": tested}, answers, chosen)
    table = latencies({"fp32": fp32, "int8": int8}, image)
    if found["int8"] < found["network"] - LOSS:
        return in_fp32(f"int8 costs more than {LOSS:.1%} of accuracy: {_words(found)}", table, int8=tested)
    if not all(table["int8"][batch] < FASTER * table["fp32"][batch] for batch in table["fp32"]):
        return in_fp32("int8 is no faster here", table, int8=tested)
    record |= {"file": INT8_GRAPH, "precision": "int8", "checked": found, "latency_ms": table}
    return Serving(graph, record | {"reason": f"int8 is as accurate, {_words(found)}, and faster"}, tested)


def latencies(graphs: Mapping[str, onnxruntime.InferenceSession], image: Pixels) -> dict[str, dict[str, float]]:
    """Milliseconds of a batch of so many images, by graph: medians of runs in turn. ``image``: one, 1 x h x w x c."""
    table: dict[str, dict[str, float]] = {name: {} for name in graphs}
    longest_s = 0.0
    for batch in BATCHES:
        if longest_s * 4 > MAX_MEASURING_S:  # the next batch is four times as large, or more
            break
        images = image.repeat(batch, 0)
        runs = [{name: _timed(graph, images) for name, graph in graphs.items()} for _ in range(1 + RUNS)]
        for name in graphs:
            table[name][str(batch)] = round(1000 * statistics.median(run[name] for run in runs[1:]), 3)
        longest_s = max(table[name][str(batch)] for name in graphs) / 1000
    return table


def session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def strangeness(graph: bytes, images: Tensor) -> Tensor:
    """What the graph says of canonical images."""
    ran, batches = session(graph), torch.split(images.cpu(), ANSWER_BATCH)
    found = [ran.run(["strangeness"], {"images": batch.numpy()})[0] for batch in batches]
    return torch.cat([torch.from_numpy(scores) for scores in found])


def _some_of(test: Part, flop_per_image: float) -> Tensor:
    """Rows of the test images that the graphs are asked: of a large network fewer, the same ones each time."""
    count = min(len(test), max(MIN_IMAGES, int(CHECK_FLOP / flop_per_image)))
    return torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:count].sort().values


def _ask(graph: onnxruntime.InferenceSession, test: Part, chosen: Tensor) -> Tested:
    names = [output.name for output in graph.get_outputs()]
    batches = [test.some(rows.tolist()).cpu().numpy() for rows in torch.split(chosen, ANSWER_BATCH)]
    columns = zip(*(graph.run(names, {"images": images}) for images in batches), strict=True)
    found = {name: torch.cat([*map(torch.from_numpy, column)]) for name, column in zip(names, columns, strict=True)}
    return Tested(Answers(found["logits"], test.labels.cpu()[chosen]), found.get("strangeness"))


def _compared(graphs: Mapping[str, Tested], answers: Answers, chosen: Tensor) -> dict[str, Any]:
    """Accuracy of network and graphs on the chosen images, and how often each graph answers as the network does."""
    labels, own = answers.labels[chosen], answers.logits[chosen].argmax(1)
    given = {name: tested.answers.logits.argmax(1) for name, tested in graphs.items()}
    return {
        "images": len(chosen),
        "network": _share(own == labels),
        **{name: _share(answer == labels) for name, answer in given.items()},
        "same_answer": {name: _share(answer == own) for name, answer in given.items()},
    }


def _share(which: Tensor) -> float:
    return float(which.double().mean())


def _timed(graph: onnxruntime.InferenceSession, images: Pixels) -> float:
    started = time.perf_counter()
    graph.run(["logits"], {"images": images})
    return time.perf_counter() - started


def _words(found: dict[str, Any]) -> str:
    return f"{found['int8']:.4f} against {found['network']:.4f} on {found['images']} test images"
