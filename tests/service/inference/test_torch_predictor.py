"""service.inference.torch_predictor: the same answers by torch.

It runs on the CPU here; tests/gpu tests the real device.
"""

import numpy as np
import pytest
import torch

from core.artifacts.manifest import from_tensors, write_folder
from core.artifacts.store import LocalStore
from core.db.tables import Model
from core.errors import Damaged
from core.imaging.preparation import Pixels
from core.inference.network import ServingGraph, build, to_arrays
from service.inference.torch_predictor import TorchPredictor
from tests.support.fakes import DIGIT_PREPARATION, model_card

NETWORK = "squeezenet1_1"  # the smallest


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(NETWORK, 10).eval()


@pytest.fixture
def model(store: LocalStore, network: torch.nn.Module) -> Model:
    write_folder(store, "models/a", {"weights.safetensors": from_tensors(to_arrays(network))}, {})
    return Model(id="model_a", version=1, job_id="job_a", key="models/a", card=model_card(network=NETWORK))


@pytest.fixture(scope="module")
def images() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)


def test_the_answers_are_those_of_the_network(
    store: LocalStore, model: Model, network: torch.nn.Module, images: Pixels
) -> None:
    with torch.inference_mode():
        wanted = ServingGraph(DIGIT_PREPARATION, network)(torch.from_numpy(images)).softmax(1).numpy()
    answers = TorchPredictor(model, store, "cpu").run(images).probabilities
    np.testing.assert_allclose(answers, wanted, atol=1e-5)
    np.testing.assert_allclose(answers.sum(1), 1, rtol=1e-5)
    assert answers.dtype == np.float32


def test_an_answer_does_not_depend_on_its_batch(store: LocalStore, model: Model, images: Pixels) -> None:
    predictor = TorchPredictor(model, store, "cpu")
    alone, together = predictor.run(images[2:3]).probabilities, predictor.run(images).probabilities
    np.testing.assert_allclose(alone[0], together[2], atol=1e-5)


def test_what_the_card_says_is_known(store: LocalStore, model: Model) -> None:
    predictor = TorchPredictor(model, store, "cpu")
    assert (predictor.engine, predictor.model.id, len(predictor.classes)) == ("torch-cpu", "model_a", 10)
    assert predictor.preparation == DIGIT_PREPARATION


def test_changed_weights_are_refused(store: LocalStore, model: Model) -> None:
    store.put("models/a/weights.safetensors", b"other")
    with pytest.raises(Damaged):
        TorchPredictor(model, store, "cpu")


def test_weights_of_another_network_are_refused(store: LocalStore, model: Model) -> None:
    model.card = model_card(network="squeezenet1_0")
    with pytest.raises(RuntimeError, match="state_dict"):
        TorchPredictor(model, store, "cpu")
