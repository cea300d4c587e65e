"""A model on a device: ``run(images) -> outputs``. On the CPU it is ONNX Runtime, and torch is not imported."""

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

SPIN_US = 100  # threads that share an image look so long for the next layer before they sleep: 1 ms of 4 sooner
Images = npt.NDArray[np.uint8]  # n x height x width x channels, canonical
Probabilities = npt.NDArray[np.float32]  # n x classes
Strangeness = npt.NDArray[np.float32]  # n; about 0 for images like those of the training, above 1 the model abstains


@dataclass(frozen=True)
class Outputs:
    probabilities: Probabilities
    strangeness: Strangeness | None = None  # none where it could not be fitted (worker.ood.fitting)


class Predictor(Protocol):
    """One loaded model. ``run`` may block; so many threads as there are ``lanes`` may call it at a time."""

    model: Model
    lanes: int
    preparation: Preparation
    classes: tuple[str, ...]
    engine: str

    @property
    def tells_strangeness(self) -> bool: ...  # not where it could not be fitted

    def run(self, images: Images) -> Outputs: ...


class OnnxPredictor:
    """ONNX Runtime on the CPU."""

    engine = "onnxruntime-cpu"

    def __init__(self, model: Model, store: ArtifactStore, threads: int, lanes: int = 1) -> None:
        """``threads`` work on each batch; ``lanes`` batches at a time."""
        self.model = model
        self.lanes = lanes
        self.preparation = Preparation.model_validate(model.card["preparation"])
        self.classes = tuple(model.card["classes"])
        self._temperature = temperature_of(model)
        self._path = fetch_checked(store, model.key, graph_of(model))
        # waiting threads that spin take the processor from decoding: 231 and 236 requests/s against 300 without
        self._session = _session(self._path, threads, spin_us=0)
        self._of_singles: Any = None
        self._running = 0
        self._counting = threading.Lock()
        self._threshold = threshold_of(model)
        self._names = [output.name for output in self._session.get_outputs()]
        self.tells_strangeness = "strangeness" in self._names

    def share_singles(self, threads: int) -> None:
        """From now on so many threads work on an image that comes while no other does, with weights of their own."""
        self._of_singles = _session(self._path, threads, SPIN_US)

    def run(self, images: Images) -> Outputs:
        with self._session_for(len(images)) as session:
            found = dict(zip(self._names, session.run(self._names, {"images": images}), strict=True))
        strangeness = found["strangeness"] / self._threshold if self.tells_strangeness else None
        return Outputs(softmax(found["logits"] / self._temperature), strangeness)

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
    options.add_session_config_entry("session.force_spinning_stop", "1")  # none between two images
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def graph_of(model: Model) -> str:
    """The file that serves on a CPU (worker.publishing.graph_selection)."""
    return str(model.card["serving"]["file"])


def temperature_of(model: Model) -> float:
    """What logits are divided by, so that probabilities are right as often as they say; 1: as the network gives them.

    Fitted when the model was made (worker.evaluation.temperature_scaling).
    """
    return float(model.card["calibration"]["temperature"])


def threshold_of(model: Model) -> float:
    """What the strangeness is divided by that the graph tells: 1, but where that graph is in int8
    (worker.publishing.publish).
    """
    return float(model.card["serving"].get("strangeness_threshold", 1.0))


def softmax(logits: npt.NDArray[np.float32]) -> Probabilities:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True), np.float32)


def warm_up(predictor: Predictor, *batches: int) -> None:
    """Run with so many images each, so that no person waits for the first allocation."""
    shape = (predictor.preparation.height, predictor.preparation.width, predictor.preparation.channels)
    for size in batches:
        predictor.run(np.zeros((size, *shape), np.uint8))
