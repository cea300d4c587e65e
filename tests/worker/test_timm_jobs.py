"""Whole jobs with networks of timm: trained, frozen and quantised."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from core.artifacts.manifest import read_tensors
from core.artifacts.model_files import SELF_TEST_SAMPLES, WEIGHTS
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Job, Model
from core.inference.network import build
from core.inference.onnx_predictor import OnnxPredictor
from core.repositories import models
from core.repositories.jobs import Claim
from core.settings import Settings
from service.inference.self_test import self_test
from service.inference.torch_predictor import TorchPredictor
from worker import trainer
from worker.attempt.reporter import Reporter

RECIPE: dict[str, Any] = {
    "dataset": "digits",
    "weights": "random",
    "image_size": 64,
    "epochs": 1,
    "batch_size": 32,
    "train_samples": 64,
    "augmentation": "none",
    "precision": "fp32",
    "device": "cpu",
}
VIT = "timm/test_vit.r160_in1k"
FAMILIES = ("timm/test_resnet.r160_in1k", "timm/test_convnext.r160_in1k", "timm/test_efficientnet.r160_in1k", VIT)
Train = Callable[..., Model]


@pytest.fixture
def trained(
    settings: Settings, db: Database, store: LocalStore, claimed: Callable[..., Claim], job_of: Callable[[str], Job]
) -> Train:
    def run(**recipe: Any) -> Model:
        claim, quick = claimed(**RECIPE | recipe), settings.model_copy(update={"train_threads": 1, "offline": True})
        trainer.run(quick, db, store, Reporter(db, claim, quick.heartbeat_interval_s))
        with db.read() as session:
            return models.find(session, str(job_of(claim.job_id).model_id))

    return run


@pytest.mark.parametrize("network", FAMILIES)
def test_a_family_is_trained_quantised_and_answers_alike_on_every_engine(
    trained: Train, store: LocalStore, network: str
) -> None:
    model = trained(network=network)
    assert model.card["network"] == network
    assert model.card["weights_license"] is None  # its own
    assert set(model.card["serving"]["latency_ms"]) == {"fp32", "int8"}  # an int8 graph was made and compared
    predictor = OnnxPredictor(model, store, threads=1)
    self_test(predictor, store)
    images = read_tensors(store, model.key, SELF_TEST_SAMPLES)["images"]
    by_torch = TorchPredictor(model, store, "cpu").run(images).probabilities
    difference = np.abs(by_torch - predictor.run(images).probabilities).max()
    assert difference < (0.05 if model.card["serving"]["precision"] == "int8" else 1e-3)


def test_weights_in_the_folder_are_kept_behind_a_new_head_with_their_own_colours_and_licence(
    trained: Train, settings: Settings, store: LocalStore
) -> None:
    torch.manual_seed(3)
    theirs = build(VIT, 1000, 160).state_dict()
    settings.resolved_weights_dir.mkdir(parents=True)
    save_file(theirs, settings.resolved_weights_dir / "test_vit.r160_in1k.safetensors")
    model = trained(network=VIT, weights="imagenet", freeze="backbone", optimizer="lbfgs", image_size="auto")
    assert model.card["weights_license"] == "apache-2.0"
    assert model.card["preparation"]["mean"] == [0.5] * 3
    assert model.card["preparation"]["resampling"] == "bicubic"
    own = read_tensors(store, model.key, WEIGHTS)
    assert changed(theirs, own) == {"head.weight", "head.bias", "pos_embed"}  # which is for a smaller image


def changed(before: Mapping[str, torch.Tensor], after: Mapping[str, Any]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name, tensor in before.items() if not np.array_equal(tensor.numpy(), after[name])}
