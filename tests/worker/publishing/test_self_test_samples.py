"""worker.publishing.self_test_samples: what the trainer records is what the service then answers."""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.numpy import load

from core.artifacts.model_files import SELF_TEST_SAMPLES
from core.artifacts.store import LocalStore
from core.db.tables import Model
from core.errors import Damaged
from core.imaging.preparation import preprocess_digit
from core.inference.onnx_predictor import OnnxPredictor
from service.inference.self_test import self_test
from tests.conftest import DIGIT_FILES
from tests.support.fakes import tiny_onnx
from worker.data.splits import Split
from worker.publishing.self_test_samples import COUNT, probes

Published = Callable[..., Model]


def digits() -> torch.Tensor:
    found = [preprocess_digit(np.asarray(Image.open(file).convert("L"))).pixels for file in DIGIT_FILES]
    return torch.from_numpy(np.stack(found))


def test_images_and_answers_are_recorded(digit_weights: npt.NDArray[np.float32]) -> None:
    recorded = load(probes(tiny_onnx(digit_weights), digits(), temperature=1.0, threshold=1.0))
    np.testing.assert_array_equal(recorded["images"], digits().numpy())
    assert recorded["probabilities"].argmax(1).tolist() == list(range(10))
    np.testing.assert_allclose(recorded["probabilities"].sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize(("strange", "recorded"), [(False, None), (True, 0.5)])
def test_ood_score_is_recorded_in_thresholds_where_the_graph_tells_it(
    digit_weights: npt.NDArray[np.float32], strange: bool, recorded: float | None
) -> None:
    grey = torch.full((1, 28, 28, 1), 100, dtype=torch.uint8)
    found = load(probes(tiny_onnx(digit_weights, strange), grey, temperature=1.0, threshold=2.0))
    assert found.get("ood_score") == (None if recorded is None else pytest.approx(recorded))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_service_answers_them_the_same(
    published: Published, store: LocalStore, digit_weights: npt.NDArray[np.float32], temperature: float
) -> None:
    model = published(more={SELF_TEST_SAMPLES: probes(tiny_onnx(digit_weights), digits(), temperature, 1.0)})
    model.card = model.card | {"calibration": {"temperature": temperature}}
    assert self_test(OnnxPredictor(model, store, threads=1), store).startswith("passed: 10 probes")


@pytest.mark.parametrize(("threshold", "is_refused"), [(2.0, False), (2.2, True), (1.0, True)])
def test_the_service_refuses_another_threshold_than_was_recorded(
    published: Published,
    store: LocalStore,
    digit_weights: npt.NDArray[np.float32],
    threshold: float,
    is_refused: bool,
) -> None:
    graph = tiny_onnx(digit_weights, scored=True)
    model = published(onnx=graph, more={SELF_TEST_SAMPLES: probes(graph, digits(), temperature=1.0, threshold=2.0)})
    model.card = model.card | {"serving": {"file": "model.onnx", "ood_threshold": threshold}}
    with pytest.raises(Damaged, match="OOD score") if is_refused else nullcontext():
        self_test(OnnxPredictor(model, store, threads=1), store)


@pytest.mark.parametrize("images", [1, 3, 4, 5, 1000])
def test_they_come_from_all_over_the_part_and_none_twice(images: int) -> None:
    values = torch.arange(images).view(-1, 1, 1, 1)
    chosen = Split(values, torch.arange(images)).spread(COUNT).flatten().tolist()
    assert len(set(chosen)) == min(images, COUNT)
    assert (chosen[0], chosen[-1]) == (0, images - 1)
