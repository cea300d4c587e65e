"""A loaded model answers its own probes before it answers people."""

import numpy as np

from core.checkpoints import read_tensors
from core.errors import Damaged
from core.predictor import Predictor
from core.store import ArtifactStore

PROBES = "probes.safetensors"  # images and the probabilities that the model's graph gave for them (worker.probes)
TOLERANCE = 1e-3  # of a probability, in fp32; ResNets differed by less than 1e-7, in torch on the CPU too
# bf16, with its eight bits, moves an unsure answer far: those of a resnet18 that was right in 82 % of 360 digits moved
# by 0.02 in the median and by 0.2 at most (torch 2.15 autocast on a CPU, November 2026)
GPU_TOLERANCE = 0.3


def self_test(predictor: Predictor, store: ArtifactStore) -> str:
    """What came of it, for people. Damaged: the answers are not those that were recorded when the model was made."""
    model = predictor.model
    if PROBES not in model.card["files"]:
        return "none: the model was made before there were probes"
    probes = read_tensors(store, model.key, PROBES)
    given, wanted = predictor.run(probes["images"]).probabilities, probes["probabilities"]
    if given.shape != wanted.shape:
        raise Damaged(f"its answers to its probes have {given.shape[1]} classes, and {wanted.shape[1]} were recorded")
    difference = float(np.abs(given - wanted).max())
    tolerance = GPU_TOLERANCE if predictor.engine.startswith("torch-cuda") else TOLERANCE
    if not difference <= tolerance:  # nan too
        raise Damaged(
            f"its answers to {len(given)} probes differ by up to {difference:.2g} in a probability from those recorded "
            f"when it was made; at most {tolerance:g} is allowed"
        )
    return f"passed: {len(given)} probes, largest difference {difference:.1g}"
