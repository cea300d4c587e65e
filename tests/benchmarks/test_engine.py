"""benchmarks.engine: the engines that the service has, by themselves."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks import engine
from benchmarks.engine import engine_rates
from core.artifacts.manifest import from_tensors, write_folder
from core.artifacts.store import LocalStore
from core.inference.network import build, to_arrays
from core.settings import Settings
from tests.conftest import DIGIT_FILES
from tests.support.fakes import model_card, tiny_onnx

NETWORK = "squeezenet1_1"  # the smallest


@pytest.fixture
def folder(settings: Settings, store: LocalStore, digit_weights: npt.NDArray[np.float32]) -> Path:
    card = model_card(network=NETWORK)
    files = {
        "weights.safetensors": from_tensors(to_arrays(build(NETWORK, 10))),
        "model.onnx": tiny_onnx(digit_weights),
        "model.json": json.dumps(card).encode(),
    }
    write_folder(store, "models/model_a", files, {})
    return settings.data_dir / "models" / "model_a"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_it_is_asked_in_batches(folder: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_a_gpu = engine.with_torch
    monkeypatch.setattr(engine, "with_torch", lambda where, card, _, most: as_on_a_gpu(where, card, "cpu", most))
    monkeypatch.setitem(engine.BATCHES, device, (1, 3))
    rates = engine_rates(folder, DIGIT_FILES[7].read_bytes(), 0.01, device)
    assert list(rates) == [1, 3]
    assert min(rates.values()) > 0
