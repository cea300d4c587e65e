"""Quantise a network's graph to int8 in a process of its own.

With ONNX Runtime's static quantisation.

Of its own, since it may fail in many ways for a network that nobody has tried, takes several times the graph's memory,
and none of that may harm the job: what it cannot do is not served, and that is all. No torch here.

uint8 activations and int8 weights, a scale for each channel: with both of int8, ONNX Runtime is no faster on x86 than
in fp32 (1.32). The weights take 7 of their 8 bits: without VNNI, x86 adds two products in 16 bits, and 2 x 255 x 64
just fits. With 8 bits the probabilities of a ResNet-50 differed by 0.1 between a CPU with VNNI and one with AVX2 alone;
with 7 they are the same to the bit, so that a model can be made on one machine and served on another.
"""

import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

from core.errors import TuneserveError
from core.imaging.preparation import Pixels
from worker.processes.parent_death import WORKER_PID, die_with_parent
from worker.publishing.per_channel import by_channel

GRAPH, IMAGES, INT8 = "graph.onnx", "images.npy", "int8.onnx"
MAX_GRAPH_BYTES = 600 * 2**20  # of a graph: this takes about five times as much memory
TIMEOUT_S = 300.0
BATCH = 16  # calibration images at a time: no graph optimisation there, every activation is kept
PROBED, TINY = 4, 1e-12  # images by which rounding is measured; keeps a norm above 0
WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")


class NotQuantized(TuneserveError):
    """The network has no int8 graph."""


def quantize(graph: bytes, images: Pixels, exact: float = 0.0) -> bytes:
    """Return the graph in int8; NotQuantized gives the reason against it.

    The canonical ``images`` determine the ranges of activations. The int8 graph takes the same images and answers with
    float logits; its preparation of the images stays as it is. ``exact``: the share of the activations, those that
    int8 rounds worst, whose layers stay in fp32.
    """
    if len(graph) > MAX_GRAPH_BYTES:
        raise NotQuantized(
            f"{len(graph) >> 20} MiB of weights; quantising takes too much memory above {MAX_GRAPH_BYTES >> 20}"
        )
    with TemporaryDirectory(prefix="tuneserve-") as name:
        folder = Path(name)
        (folder / GRAPH).write_bytes(graph)
        np.save(folder / IMAGES, images)
        _run(folder, exact)
        return (folder / INT8).read_bytes()


def main() -> None:
    die_with_parent()
    logging.getLogger().setLevel(logging.ERROR)  # it advises to fuse first, which the exporter has done
    folder, exact = Path(sys.argv[1]), float(sys.argv[2])
    model, images = without_identities(onnx.load(folder / GRAPH, load_external_data=False)), np.load(folder / IMAGES)
    left_out = [*preparation_nodes(model), *exact_nodes_beside(model), *means(model)]
    int8 = _quantized(model, images, folder, left_out)
    if exact:
        int8 = _quantized(model, images, folder, [*left_out, *coarse_nodes(model, int8, images, exact)])
    onnx.save(int8, folder / INT8)


def _quantized(model: onnx.ModelProto, images: Pixels, folder: Path, left_out: list[str]) -> onnx.ModelProto:
    own = onnx.ModelProto()
    own.CopyFrom(model)  # whose weights it moves into a file that it deletes
    quantize_static(
        own,
        folder / INT8,
        _Reader(images),
        calibrate_method=CalibrationMethod.MinMax,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=False,  # but by_channel below
        reduce_range=True,
        nodes_to_exclude=left_out,
        # 256 levels are too few for the logits: one that is far out takes them from all others
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
    )
    int8 = onnx.load(folder / INT8, load_external_data=False)
    by_channel(int8, model)
    return int8


def coarse_nodes(model: onnx.ModelProto, int8: onnx.ModelProto, images: Pixels, share: float) -> list[str]:
    """Name the nodes that make or take the values that 256 levels describe worst.

    Those are a share of all values between layers.
    """
    made = {node.output[0]: node for node in int8.graph.node}
    rounded = {  # the value before: the value afterwards
        made[node.input[0]].input[0]: node.output[0]
        for node in int8.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in made
    }
    if not rounded:
        return []
    noise = _noise(int8, rounded, images[:PROBED])
    worst = {*sorted(rounded, key=noise.__getitem__, reverse=True)[: math.ceil(share * len(rounded))]}
    values = worst | {rounded[name] for name in worst}
    nodes = [*model.graph.node, *int8.graph.node]
    return [node.name for node in nodes if not values.isdisjoint([*node.input, *node.output])]


def _noise(int8: onnx.ModelProto, rounded: Mapping[str, str], images: Pixels) -> dict[str, float]:
    """Return how much each value differs when rounded, as a share of its norm."""
    watched = onnx.ModelProto()
    watched.CopyFrom(int8)
    names = [*{*rounded, *rounded.values()}]
    known = {output.name for output in watched.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = dict(zip(names, map(np.asarray, session.run(names, {"images": images})), strict=True))
    return {
        before: float(np.linalg.norm(found[before] - found[after]) / (np.linalg.norm(found[before]) + TINY))
        for before, after in rounded.items()
    }


def preparation_nodes(model: onnx.ModelProto) -> list[str]:
    """Name the nodes before the first weights.

    They are what Prepare does to the images.
    """
    names = []
    for node in model.graph.node:
        if node.op_type in WITH_WEIGHTS and not _prepares(node):
            break
        names.append(node.name)
    return names


def _prepares(node: onnx.NodeProto) -> bool:
    """Check whether a node belongs to a layer of Prepare.

    Tracing writes that into the node's name, torch.export into the names of its weights.
    """
    return node.name.startswith("/prepare/") or any(name.startswith("prepare.") for name in node.input)


def means(model: onnx.ModelProto) -> list[str]:
    """Name the nodes that average whole maps.

    In int8 their results depend on the size of the batch.
    """
    return [node.name for node in model.graph.node if node.op_type == "GlobalAveragePool"]


def without_identities(model: onnx.ModelProto) -> onnx.ModelProto:
    """Resolve Identity nodes: second names of the same values.

    The exporter makes them for equal weights.
    """
    first = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Identity"}
    kept = [node for node in model.graph.node if node.op_type != "Identity"]
    for node in kept:
        node.input[:] = [first.get(name, name) for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def exact_nodes_beside(model: onnx.ModelProto) -> list[str]:
    """Name the nodes that the logits do not depend on.

    They make the OOD score, which keeps its precision.
    """
    wanted, beside = {"logits"}, []
    for node in reversed(model.graph.node):
        if wanted.isdisjoint(node.output):
            beside.append(node.name)
        else:
            wanted.update(node.input)
    return beside


class _Reader(CalibrationDataReader):
    """Reader of the images in batches."""

    def __init__(self, images: Pixels) -> None:
        self._batches: Iterator[Pixels] = iter(np.split(images, range(BATCH, len(images), BATCH)))

    def get_next(self) -> dict[str, Pixels]:
        """Return the next batch; empty at the end."""
        batch = next(self._batches, None)
        return {} if batch is None else {"images": batch}


def _run(folder: Path, exact: float) -> None:
    try:
        ended = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "worker.publishing.quantization", str(folder), str(exact)],
            env=os.environ | {WORKER_PID: str(os.getpid()), "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise NotQuantized(f"quantising took longer than {TIMEOUT_S:.0f} s") from error
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise NotQuantized(f"quantising ended with exit code {ended.returncode}: {said[-1][:500]}")


if __name__ == "__main__":
    main()
