"""Predictor interface, and its implementation with ONNX Runtime on a CPU.

Works without torch.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from core.artifacts.manifest import fetch_checked
from core.artifacts.store import ArtifactStore
from core.db.tables import Model
from core.imaging.preparation import Preparation
from core.inference.graph_outputs import FEATURES, LOGITS, OOD_SCORE

SPIN_US = 100  # how long threads that share an image spin before they sleep: saves 1 ms of 4
Images = npt.NDArray[np.uint8]  # n x height x width x channels, canonical
Probabilities = npt.NDArray[np.float32]  # n x classes
Features = npt.NDArray[np.float32]  # n x d: what the network's last layer sees
OodScores = npt.NDArray[np.float32]  # n; about 0 for images like those of the training, above 1 the model abstains


@dataclass(frozen=True)
class Outputs:
    probabilities: Probabilities
    ood_score: OodScores | None = None  # none where it could not be fitted (worker.ood.fitting)
    features: Features | None = None  # only if wanted


class Predictor(Protocol):
    """One loaded model; ``run`` blocks, and ``max_concurrent_batches`` threads may call it concurrently."""

    model: Model
    max_concurrent_batches: int
    preparation: Preparation
    classes: tuple[str, ...]
    engine: str

    @property
    def tells_ood_score(self) -> bool: ...  # not where it could not be fitted

    @property
    def feature_size(self) -> int: ...  # numbers of an image; 0 where the last layer is not linear

    def run(self, images: Images, with_features: bool = False) -> Outputs: ...


class OnnxPredictor:
    """ONNX Runtime on the CPU."""

    engine = "onnxruntime-cpu"

    def __init__(self, model: Model, store: ArtifactStore, threads: int, max_concurrent_batches: int = 1) -> None:
        """Load the model; ``threads`` per batch, ``max_concurrent_batches`` concurrent batches."""
        self.model = model
        self.max_concurrent_batches = max_concurrent_batches
        self.preparation = Preparation.model_validate(model.card["preparation"])
        self.classes = tuple(model.card["classes"])
        self._temperature = temperature_of(model)
        self._path = fetch_checked(store, model.key, graph_of(model))
        # spinning threads take the processor from decoding: 231 and 236 requests/s, 300 without spinning
        self._session = _session(self._path, threads, spin_us=0)
        self._of_singles: Any = None
        self._running = 0
        self._counting = threading.Lock()
        self._threshold = threshold_of(model)
        shapes = {output.name: output.shape for output in self._session.get_outputs()}
        self.feature_size = int(shapes.pop(FEATURES, (0,))[-1])
        self._names = [*shapes]
        self.tells_ood_score = OOD_SCORE in shapes

    def share_singles(self, threads: int) -> None:
        """Run single images on ``threads`` threads.

        They get their own copy of the weights.
        """
        self._of_singles = _session(self._path, threads, SPIN_US)

    def run(self, images: Images, with_features: bool = False) -> Outputs:
        names = [*self._names, FEATURES] if with_features else self._names
        with self._session_for(len(images)) as session:
            found = dict(zip(names, session.run(names, {"images": images}), strict=True))
        ood_score = found[OOD_SCORE] / self._threshold if self.tells_ood_score else None
        return Outputs(softmax(found[LOGITS] / self._temperature), ood_score, found.get(FEATURES))

    @contextmanager
    def _session_for(self, count: int) -> Iterator[Any]:
        with self._counting:
            single = self._of_singles is not None and count == 1 and not self._running
            self._running += 1
        try:
            yield self._of_singles if single else self._session
        finally:
            with self._counting:
                self._running -= 1


def _session(path: Path, threads: int, spin_us: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin_us else "0")
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_us))
    options.add_session_config_entry("session.force_spinning_stop", "1")  # no spinning between two images
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def graph_of(model: Model) -> str:
    """Return the file name of the graph for a CPU (worker.publishing.graph_selection)."""
    return str(model.card["serving"]["file"])


def temperature_of(model: Model) -> float:
    """Return the divisor of the logits that calibrates probabilities; 1 changes nothing.

    Fitted when the model was published (worker.evaluation.temperature_scaling).
    """
    return float(model.card["calibration"]["temperature"])


def threshold_of(model: Model) -> float:
    """Return the divisor of the graph's ood_score.

    1, unless the graph is in int8 (worker.publishing.graph_selection).
    """
    return float(model.card["serving"].get("ood_threshold", 1.0))


def softmax(logits: npt.NDArray[np.float32]) -> Probabilities:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True), np.float32)


def warm_up(predictor: Predictor, *batches: int) -> None:
    """Run batches of these sizes to allocate memory before the first request."""
    shape = (predictor.preparation.height, predictor.preparation.width, predictor.preparation.channels)
    for size in batches:
        predictor.run(np.zeros((size, *shape), np.uint8))
