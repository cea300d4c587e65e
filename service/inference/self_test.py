"""Test a loaded model on its own samples before it serves."""

import numpy as np

from core.artifacts.manifest import read_tensors
from core.artifacts.model_files import SELF_TEST_SAMPLES
from core.artifacts.store import ArtifactStore
from core.errors import Damaged
from core.inference.onnx_predictor import OodScores, Predictor, Probabilities

TOLERANCE = 1e-3  # of a probability, in fp32; ResNets differed by less than 1e-7, in torch on the CPU too
# bf16, with its eight bits, moves an unsure answer far: those of a resnet18 that was right in 82 % of 360 digits moved
# by 0.02 in the median and by 0.2 at most (torch 2.15 autocast on a CPU, November 2026)
GPU_TOLERANCE = 0.3
OOD_SCORE_TOLERANCE = 0.01  # as a share of what is recorded, and of the 1 at which a model abstains
# recorded is the int8 graph's answer; on a GPU the network itself does. Of 96 digits of MNIST and a ResNet-50 they
# differed by 0.10 in the median and by 0.44 at most (bf16 on a CPU, torch 2.15, November 2026)
GPU_OOD_SCORE_TOLERANCE = 1.0


def self_test(predictor: Predictor, store: ArtifactStore) -> str:
    """Check a model's answers to its self-test samples; return a summary.

    Raise Damaged if they are not the answers that were recorded when the model was made.
    """
    model = predictor.model
    probes = read_tensors(store, model.key, SELF_TEST_SAMPLES)
    given, on_gpu = predictor.run(probes["images"]), predictor.engine.startswith("torch-cuda")
    difference = _compare(given.probabilities, probes["probabilities"], GPU_TOLERANCE if on_gpu else TOLERANCE)
    if (ood_score := probes.get("ood_score")) is not None:  # absent where the model has no such score
        tolerance = GPU_OOD_SCORE_TOLERANCE if on_gpu else OOD_SCORE_TOLERANCE
        _compare_ood_score(given.ood_score, ood_score, tolerance)
    return f"passed: {len(probes['images'])} probes, largest difference {difference:.1g}"


def _compare(given: Probabilities, wanted: Probabilities, tolerance: float) -> float:
    """Compare probabilities with the recorded ones; return the largest difference.

    Raise Damaged if it exceeds the tolerance or a label differs.
    """
    if given.shape != wanted.shape:
        raise Damaged(f"its answers to its probes have {given.shape[1]} classes, and {wanted.shape[1]} were recorded")
    difference = float(np.abs(given - wanted).max())
    if not difference <= tolerance:  # nan too
        raise Damaged(
            f"its answers to {len(given)} probes differ by up to {difference:.2g} in a probability from those recorded "
            f"when it was made; at most {tolerance:g} is allowed"
        )
    second, first = np.sort(wanted, axis=1)[:, -2:].T
    other = (given.argmax(1) != wanted.argmax(1)) & (first - second > tolerance)
    if other.any():
        raise Damaged(f"it gives {other.sum()} of its {len(given)} probes another label than when it was made")
    return difference


def _compare_ood_score(given: OodScores | None, wanted: OodScores, tolerance: float) -> None:
    if given is None:
        raise Damaged("it does not give an OOD score for its probes, as it did when it was made")
    difference = float((np.abs(given - wanted) / np.maximum(1, np.abs(wanted))).max())
    if not difference <= tolerance:
        raise Damaged(
            f"the OOD score of its probes differs by up to {difference:.2g} from what was recorded when it was "
            f"made; at most {tolerance:g} is allowed"
        )
