"""worker.publishing.torch_export: a published model as a program without our code."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.artifacts.manifest import from_tensors
from core.artifacts.model_files import TORCH_EXPORT
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Model
from core.inference.network import ServingGraph, build, to_arrays
from core.repositories import exports
from core.settings import Settings
from tests.conftest import NOW
from tests.support.fakes import DIGIT_PREPARATION
from worker.data.datasets.digits import load
from worker.publishing import torch_export
from worker.publishing.torch_export import main, parity

Published = Callable[..., Model]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("squeezenet1_1", 10, DIGIT_PREPARATION.image_size).eval()


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return torch.from_numpy(np.asarray(load(Settings()).test_images)[:7])


@pytest.fixture
def model(published: Published, network: torch.nn.Module, digits: torch.Tensor) -> Model:
    files = {"self_test_samples.safetensors": from_tensors({"images": digits[:4].numpy()})}
    weights = {"weights.safetensors": from_tensors(to_arrays(network))}
    return published(network="squeezenet1_1", more=files | weights)


def test_the_file_answers_as_the_network_does_and_says_of_what(
    model: Model, settings: Settings, network: torch.nn.Module, digits: torch.Tensor, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file, about = tmp_path / "digits.pt2", {"model.json": ""}
    monkeypatch.setenv("TUNESERVE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setattr(sys, "argv", ["torch_export", "digits@latest", str(file)])
    assert main() == 0
    assert "largest difference" in capsys.readouterr().out
    program: Any = torch.export.load(file, extra_files=about).module()
    with torch.inference_mode():
        own = ServingGraph(DIGIT_PREPARATION, network)(digits)
        for count in (1, 7):
            np.testing.assert_allclose(program(digits[:count]), own[:count], atol=1e-4)
    told = json.loads(about["model.json"])
    assert (told["id"], told["classes"], told["temperature"]) == (model.id, model.card["classes"], 1.0)


def test_a_program_that_answers_otherwise_is_found(network: torch.nn.Module, digits: torch.Tensor) -> None:
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10)).eval()
    graphs = [ServingGraph(DIGIT_PREPARATION, one).eval() for one in (other, network)]
    program = torch_export._program(graphs[0], digits, "{}")
    assert parity(program, graphs[0], digits) < 1e-6
    assert parity(program, graphs[1], digits) > 0.01


@pytest.mark.usefixtures("model")
def test_a_program_that_differs_from_the_network_is_not_written(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch_export, "PARITY_TOLERANCE", -1.0)
    monkeypatch.setenv("TUNESERVE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setattr(sys, "argv", ["torch_export", "digits@latest", str(tmp_path / "m.pt2")])
    assert main() == 1
    assert "differs from the network" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["torch_export", "model_none"])
    assert main() == 1
    assert "model_none" in capsys.readouterr().err
    assert list(tmp_path.glob("*.pt2")) == []


def test_kept_for_those_who_ask_it_lies_beside_the_models_files(
    model: Model,
    settings: Settings,
    db: Database,
    store: LocalStore,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request(db, model.id)
    assert keep(model.id, settings, database_url, monkeypatch) == 0
    assert status_of(db, model.id) == ("succeeded", None)
    assert torch.export.load(store.fetch(f"{model.key}/{TORCH_EXPORT}"))


def test_why_there_is_none_is_said_to_those_who_ask(
    model: Model, settings: Settings, db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_export, "PARITY_TOLERANCE", -1.0)
    request(db, model.id)
    assert keep(model.id, settings, database_url, monkeypatch) == 1
    status, reason = status_of(db, model.id)
    assert (status, "differs from the network" in (reason or "")) == ("failed", True)


def request(db: Database, model_id: str) -> None:
    with db.write() as session:
        exports.request(session, model_id, NOW)


def keep(model_id: str, settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("TUNESERVE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("TUNESERVE_DATABASE_URL", database_url)
    monkeypatch.setenv("TUNESERVE_TRAIN_NICENESS", "0")
    monkeypatch.setattr(torch_export, "die_with_parent", lambda: None)  # this process has no worker above it
    monkeypatch.setattr(sys, "argv", ["torch_export", model_id, "--keep"])
    return main()


def status_of(db: Database, model_id: str) -> tuple[str, str | None]:
    with db.read() as session:
        export = exports.get(session, model_id)
        return export.status, export.error
