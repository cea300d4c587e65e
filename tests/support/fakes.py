"""Stand-ins with the shape of the real thing.

They drive the real loop.
"""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from core.artifacts.manifest import from_tensors
from core.artifacts.model_files import SELF_TEST_SAMPLES
from core.db.tables import Model
from core.imaging.preparation import Preparation
from core.inference.onnx_predictor import Images, Outputs, softmax
from core.repositories.jobs import Claim
from core.settings import Settings
from worker.processes.launcher import Process

DIGITS = tuple(str(digit) for digit in range(10))
DIGIT_PREPARATION = Preparation(
    style="digit", height=28, width=28, channels=1, image_size=32, mean=(0.1, 0.1, 0.1), std=(0.3, 0.3, 0.3)
)


class FakeProcess:
    """A trainer's process that runs ``alive`` looks long, then ends with ``code``."""

    def __init__(self, code: int = 0, alive: int = 0, on_look: Callable[[], None] = lambda: None) -> None:
        self._code: int | None = None
        self._final = code
        self._left = alive
        self._on_look = on_look
        self.signals: list[signal.Signals] = []

    def poll(self) -> int | None:
        self._on_look()
        if self._code is None and self._left == 0:
            self._code = self._final
        self._left -= 1
        return self._code

    def terminate(self) -> None:
        self.signals.append(signal.SIGTERM)

    def kill(self) -> None:
        self.signals.append(signal.SIGKILL)
        self._code = -signal.SIGKILL

    def wait(self, timeout: float | None = None) -> int:
        assert self._code is not None
        return self._code


class FakeLauncher:
    """A launcher of given processes that records their claims.

    It starts them one after the other.
    """

    def __init__(self, processes: Sequence[Process]) -> None:
        self.claims: list[Claim] = []
        self._processes = iter(processes)

    def __call__(self, claim: Claim, settings: Settings) -> Process:
        self.claims.append(claim)
        return next(self._processes)


class FakePredictor:
    """A predictor whose class is the image's first pixel.

    It can be held back to let requests queue.
    """

    engine = "fake"

    def __init__(
        self,
        model_id: str = "model_fake_1",
        version: int = 1,
        name: str = "digits",
        classes: tuple[str, ...] = DIGITS,
    ) -> None:
        self.model = Model(id=model_id, name=name, version=version, job_id="job_fake", key="models/fake", card={})
        self.preparation = DIGIT_PREPARATION
        self.classes = classes
        self.max_concurrent_batches = 1
        self.batches: list[int] = []
        self.released = threading.Event()
        self.released.set()
        self.error: Exception | None = None
        self.ood_score: float | None = None
        self.feature_size = len(classes)

    @property
    def tells_ood_score(self) -> bool:
        return self.ood_score is not None

    def run(self, images: Images, with_features: bool = False) -> Outputs:
        assert self.released.wait(10)
        if self.error is not None:
            raise self.error
        self.batches.append(len(images))
        probabilities = np.full((len(images), len(self.classes)), 0.01, np.float32)
        for row, image in zip(probabilities, images, strict=True):
            row[image.flat[0] % len(self.classes)] = 0.9
        strange = None if self.ood_score is None else np.full(len(images), self.ood_score, np.float32)
        return Outputs(probabilities, strange, probabilities * 2 if with_features else None)


def image_of(digit: int) -> npt.NDArray[np.uint8]:
    """A canonical image that FakePredictor answers with that class."""
    image = np.zeros((28, 28, 1), np.uint8)
    image[0, 0] = digit
    return image


def tiny_onnx(weights: npt.NDArray[np.float32], scored: bool = False, with_features: bool = True) -> bytes:
    """Make a real served graph of one layer.

    ``images`` uint8 [batch, 28, 28, 1] -> ``logits``, pixels times ``weights``. ``scored``: it gives an ``ood_score``
    too, a hundredth of the mean pixel: of digits 0.3, of light images 2. ``with_features``: it gives the pixels too.
    """
    classes = weights.shape[1]
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["values"], ["features"], axis=1),
        helper.make_node("MatMul", ["features", "weights"], ["logits"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 28, 28, 1])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])
    outputs, constants = [logits], [numpy_helper.from_array(weights, "weights")]
    if scored:
        nodes += [
            helper.make_node("ReduceMean", ["features", "axes"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "hundredth"], ["ood_score"]),
        ]
        outputs.append(helper.make_tensor_value_info("ood_score", TensorProto.FLOAT, ["batch"]))
        constants += [
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
            numpy_helper.from_array(np.array(0.01, np.float32), "hundredth"),
        ]
    if with_features:
        outputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 784]))
    graph = helper.make_graph(nodes, "tiny", [images], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


NO_GRAPH = b"this is no graph"


def self_test_samples(graph: bytes) -> dict[str, bytes]:
    """Record a real graph's answers to one image.

    The result is the file by its name; it is empty for NO_GRAPH.
    """
    if graph == NO_GRAPH:
        return {}
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    images = np.full((1, *session.get_inputs()[0].shape[1:]), 100, np.uint8)
    names = [output.name for output in session.get_outputs() if output.name != "features"]
    answers = dict(zip(names, session.run(names, {"images": images}), strict=True))
    recorded = {"images": images, "probabilities": softmax(answers.pop("logits")), **answers}
    return {SELF_TEST_SAMPLES: from_tensors(recorded)}


def result_of(accuracy: float) -> dict[str, Any]:
    """Make a model card's entry for that test accuracy."""
    return {"correct": round(accuracy * 10_000), "images": 10_000, "low": accuracy - 0.01, "high": accuracy + 0.01}


def model_card(
    accuracy: float = 0.9,
    dataset: str = "digits",
    network: str = "resnet18",
    test_digest: str = "",
    publish: str = "always",
    name: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Make the card that training writes beside a model's files."""
    return {
        "name": name or dataset,
        "network": network,
        "dataset": dataset,
        "dataset_digest": "sha256:0",
        "test_digest": test_digest or f"test images of {dataset}",
        "classes": list(DIGITS),
        "weights_license": None,
        "preparation": DIGIT_PREPARATION.model_dump(mode="json"),
        "recipe": {"dataset": dataset, "network": network, "publish": publish, "class_weights": "none"},
        "metrics": {"test_accuracy": accuracy},
        "test": result_of(accuracy),
        "timing": {"train_s": 1.0},
        "best_epoch": 1,
        "per_class": [],
        "confusion_matrix": [],
        "serving": {"file": "model.onnx", "precision": "fp32"},
        "calibration": {"temperature": 1.0},
        "device": {"type": "cpu"},
        "versions": {},
    } | more


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until the condition holds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the condition never held")


async def answered(ask: Callable[[], Awaitable[bool]]) -> None:
    """Wait until an asynchronous condition holds."""
    for _ in range(1000):
        if await ask():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the condition never held")
