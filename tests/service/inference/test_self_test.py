"""service.inference.self_test: a model answers its own probes before it answers people."""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
import pytest

from core.artifacts.manifest import from_tensors
from core.artifacts.model_files import SELF_TEST_SAMPLES
from core.artifacts.store import LocalStore
from core.db.tables import Model
from core.errors import Damaged
from core.inference.onnx_predictor import OnnxPredictor, Outputs
from service.inference.self_test import GPU_TOLERANCE, TOLERANCE, self_test
from tests.support.fakes import NO_GRAPH, FakePredictor, image_of

Published = Callable[..., Model]
IMAGES = np.stack([image_of(digit) for digit in (1, 7)])
RIGHT = FakePredictor().run(IMAGES).probabilities


def probes(wanted: npt.NDArray[np.float32]) -> dict[str, bytes]:
    return {SELF_TEST_SAMPLES: from_tensors({"images": IMAGES, "probabilities": wanted})}


@pytest.fixture
def tested(published: Published, store: LocalStore) -> Callable[..., str]:
    """Run the self-test of a model with these recorded answers.

    The model answers ``RIGHT``.
    """

    def run(wanted: npt.NDArray[np.float32], engine: str = "fake") -> str:
        predictor = FakePredictor()
        predictor.model = published(more=probes(wanted))
        predictor.engine = engine
        return self_test(predictor, store)

    return run


Tested = Callable[..., str]


def test_a_model_that_answers_as_recorded_passes(tested: Tested) -> None:
    assert tested(RIGHT) == "passed: 2 probes, largest difference 0"


def test_a_model_without_recorded_answers_is_refused(published: Published, store: LocalStore) -> None:
    predictor = FakePredictor()
    predictor.model = published(onnx=NO_GRAPH)
    with pytest.raises(Damaged, match="model_1 has no self_test_samples"):
        self_test(predictor, store)


@pytest.mark.parametrize(
    ("engine", "tolerance"),
    [("onnxruntime-cpu", TOLERANCE), ("torch-cpu", TOLERANCE), ("torch-cuda", GPU_TOLERANCE)],
)
def test_a_difference_is_allowed_up_to_the_engines_tolerance(tested: Tested, engine: str, tolerance: float) -> None:
    near, far = RIGHT.copy(), RIGHT.copy()
    near[1, 3] += 0.9 * tolerance
    far[1, 3] += 1.1 * tolerance
    assert tested(near, engine).startswith("passed")
    with pytest.raises(Damaged, match=rf"2 probes differ by up to {1.1 * tolerance:.2g} in a probability"):
        tested(far, engine)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_refused(published: Published, store: LocalStore, wrong: float) -> None:
    class Broken(FakePredictor):
        def run(self, images: npt.NDArray[np.uint8], with_features: bool = False) -> Outputs:
            return Outputs(np.full((len(images), 10), wrong, np.float32))

    predictor = Broken()
    predictor.model = published(more=probes(RIGHT))
    with pytest.raises(Damaged, match="differ by up to"):
        self_test(predictor, store)


def test_probes_for_other_classes_are_refused(tested: Tested) -> None:
    with pytest.raises(Damaged, match="10 classes, and 9"):
        tested(RIGHT[:, :9])


@pytest.mark.parametrize(
    ("given", "engine", "is_refused"),
    [
        (0.7, "fake", False),
        (0.72, "fake", True),
        (0.9, "torch-cuda", False),
        (-1.0, "torch-cuda", True),
        (np.nan, "fake", True),
        (None, "fake", True),
    ],
)
def test_how_strange_the_probes_are_is_compared_too(
    published: Published, store: LocalStore, given: float | None, engine: str, is_refused: bool
) -> None:
    predictor = FakePredictor()
    strange = np.full(len(IMAGES), 0.7, np.float32)
    recorded = from_tensors({"images": IMAGES, "probabilities": RIGHT, "ood_score": strange})
    predictor.model, predictor.engine = published(more={SELF_TEST_SAMPLES: recorded}), engine
    predictor.ood_score = given
    with pytest.raises(Damaged, match="OOD score") if is_refused else nullcontext():
        self_test(predictor, store)


@pytest.mark.parametrize(("recorded", "is_refused"), [((0.33, 0.64), True), ((0.35, 0.64), False)])
def test_an_answer_that_was_sure_must_keep_its_label(
    published: Published, store: LocalStore, recorded: tuple[float, float], is_refused: bool
) -> None:
    class Unsure(FakePredictor):
        def run(self, images: npt.NDArray[np.uint8], with_features: bool = False) -> Outputs:
            return Outputs(np.array([[0.51, 0.49]] * len(images), np.float32))

    predictor = Unsure()
    predictor.engine, predictor.model = "torch-cuda", published(more=probes(np.array([recorded] * 2, np.float32)))
    with pytest.raises(Damaged, match="2 of its 2 probes another label") if is_refused else nullcontext():
        self_test(predictor, store)


def test_probes_that_were_changed_are_refused(published: Published, store: LocalStore) -> None:
    predictor = FakePredictor()
    predictor.model = published(more=probes(RIGHT))
    store.put(f"{predictor.model.key}/{SELF_TEST_SAMPLES}", probes(RIGHT + 1)[SELF_TEST_SAMPLES])
    with pytest.raises(Damaged, match="sha256"):
        self_test(predictor, store)


def test_a_real_graph_with_another_temperature_than_recorded_is_found_out(
    published: Published, store: LocalStore
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)
    answers = OnnxPredictor(published(), store, threads=1).run(images).probabilities
    recorded = from_tensors({"images": images, "probabilities": answers})
    model = published(more={SELF_TEST_SAMPLES: recorded})
    assert self_test(OnnxPredictor(model, store, threads=1), store).startswith("passed: 4 probes")
    model.card = model.card | {"calibration": {"temperature": 3.0}}
    with pytest.raises(Damaged, match="4 probes differ"):
        self_test(OnnxPredictor(model, store, threads=1), store)
