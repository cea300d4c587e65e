"""core.inference.onnx_predictor: a model on the CPU, by ONNX Runtime."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from core.artifacts.manifest import from_tensors, write_folder
from core.artifacts.store import LocalStore
from core.db.tables import Model
from core.errors import Damaged, NotFound
from core.imaging.preparation import Pixels, preprocess_digit
from core.inference.onnx_predictor import OnnxPredictor, softmax, warm_up
from tests.conftest import DIGIT_FILES
from tests.support.fakes import DIGITS, NO_GRAPH, FakePredictor, model_card

Published = Callable[..., Model]


def digits() -> Pixels:
    images = [preprocess_digit(np.asarray(Image.open(file).convert("L"))).pixels for file in DIGIT_FILES]
    return np.stack(images)


def test_the_graph_answers_for_each_image(published: Published, store: LocalStore) -> None:
    predictor = OnnxPredictor(published(), store, threads=1)
    probabilities = predictor.run(digits()).probabilities
    assert probabilities.argmax(1).tolist() == list(range(10))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


def test_an_answer_does_not_depend_on_its_batch(published: Published, store: LocalStore) -> None:
    predictor = OnnxPredictor(published(), store, threads=1)
    together = predictor.run(digits()).probabilities
    for image, row in zip(digits(), together, strict=True):
        np.testing.assert_allclose(predictor.run(image[None]).probabilities[0], row, atol=1e-6)


class Seen:
    """A session that records its runs.

    It calls ``meanwhile`` within the first one.
    """

    def __init__(
        self, session: Any, name: str, runs: list[str], meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        self._session, self._name, self._runs, self._meanwhile = session, name, runs, meanwhile

    def run(self, names: list[str], given: dict[str, Pixels]) -> Any:
        self._runs.append(self._name)
        meanwhile, self._meanwhile = self._meanwhile, lambda: None
        meanwhile()
        return self._session.run(names, given)


def test_several_threads_share_an_image_that_comes_alone_and_none_that_comes_meanwhile(
    published: Published, store: LocalStore
) -> None:
    predictor, runs = OnnxPredictor(published(), store, threads=1, max_concurrent_batches=2), list[str]()
    one, several = digits()[7:8], digits()
    before = predictor.run(one).probabilities
    predictor.share_singles(2)
    predictor._session = Seen(predictor._session, "own thread", runs)
    predictor._of_singles = Seen(predictor._of_singles, "shared", runs, meanwhile=lambda: predictor.run(one))
    after = predictor.run(one).probabilities
    assert runs == ["shared", "own thread"]
    np.testing.assert_allclose(after, before, atol=1e-6)
    predictor.run(several)
    predictor.run(one)
    assert runs == ["shared", "own thread", "own thread", "shared"]


def test_the_answer_is_the_softmax_of_the_logits(
    published: Published, store: LocalStore, digit_weights: npt.NDArray[np.float32]
) -> None:
    logits = digits().reshape(10, -1).astype(np.float64) @ digit_weights
    exponentials = np.exp(logits)
    wanted = exponentials / exponentials.sum(1, keepdims=True)
    np.testing.assert_allclose(OnnxPredictor(published(), store, 1).run(digits()).probabilities, wanted, rtol=1e-3)


def calibrated(model: Model, temperature: float) -> Model:
    model.card = model.card | {"calibration": {"temperature": temperature}}
    return model


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_logits_are_divided_by_the_models_temperature(
    published: Published, store: LocalStore, digit_weights: npt.NDArray[np.float32], temperature: float
) -> None:
    logits = digits().reshape(10, -1).astype(np.float64) @ digit_weights / temperature
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    answers = OnnxPredictor(calibrated(published(), temperature), store, 1).run(digits()).probabilities
    np.testing.assert_allclose(answers, wanted, rtol=1e-3)
    assert answers.argmax(1).tolist() == list(range(10))
    assert answers.dtype == np.float32


def test_torch_divides_by_the_temperature_too(store: LocalStore) -> None:
    """Torch divides by the temperature as ONNX Runtime does.

    p at temperature 2 is the square root of p at 1, brought to the sum 1 again.
    """
    import torch

    from core.inference.network import build, to_arrays
    from service.inference.torch_predictor import TorchPredictor

    with torch.random.fork_rng():
        network = build("squeezenet1_1", 10)
    write_folder(store, "models/a", {"weights.safetensors": from_tensors(to_arrays(network))}, {})
    model = Model(id="model_a", version=1, job_id="job_a", key="models/a", card=model_card(network="squeezenet1_1"))
    plain = TorchPredictor(model, store, "cpu").run(digits()).probabilities
    roots = np.sqrt(plain) / np.sqrt(plain).sum(1, keepdims=True)
    assert np.abs(roots - plain).max() > 1e-3
    halved = TorchPredictor(calibrated(model, 2.0), store, "cpu").run(digits()).probabilities
    np.testing.assert_allclose(halved, roots, atol=1e-6)


def test_what_the_card_says_is_known(published: Published, store: LocalStore) -> None:
    model = published()
    predictor = OnnxPredictor(model, store, threads=1)
    assert (predictor.classes, predictor.model.id) == (DIGITS, model.id)
    assert predictor.preparation.style == "digit"
    assert predictor.engine == "onnxruntime-cpu"


def test_a_changed_file_is_refused(published: Published, store: LocalStore) -> None:
    model = published()
    data = bytearray(store.fetch(f"{model.key}/model.onnx").read_bytes())
    data[-1] ^= 1
    store.put(f"{model.key}/model.onnx", bytes(data))
    with pytest.raises(Damaged, match=r"model\.onnx"):
        OnnxPredictor(model, store, threads=1)


def test_a_model_without_its_files_is_not_found(published: Published, store: LocalStore) -> None:
    model = published()
    store.delete(model.key)
    with pytest.raises(NotFound):
        OnnxPredictor(model, store, threads=1)


def test_a_file_that_is_no_graph_is_refused(published: Published, store: LocalStore) -> None:
    with pytest.raises(Exception, match=r"(?i)protobuf"):
        OnnxPredictor(published(onnx=NO_GRAPH), store, threads=1)


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, 0], [-1e4, 0], [88, 89]], np.float32)
    np.testing.assert_allclose(softmax(logits)[:2], [[1, 0], [0, 1]])
    np.testing.assert_allclose(softmax(logits).sum(1), 1, rtol=1e-6)


def test_warming_up_runs_once_with_each_size() -> None:
    predictor = FakePredictor()
    warm_up(predictor, 1, 32)
    assert predictor.batches == [1, 32]
