"""On a real CUDA device: one job from recipe to model, and the same answers there as on the CPU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from core import jobs, models
from core.db import Database
from core.jobs import Claim
from core.predictor import OnnxPredictor
from core.settings import Settings
from core.store import LocalStore
from core.tables import JobStatus
from service.torch_predictor import TorchPredictor
from worker import trainer
from worker.report import Reporter

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_job_trains_on_the_gpu_and_both_predictors_answer_alike(
    settings: Settings, db: Database, store: LocalStore, claimed: Callable[..., Claim], tmp_path: Path
) -> None:
    claim = claimed(dataset="digits", network="resnet50", weights="random", epochs=6, label_smoothing=0.1)
    trainer.run(settings, db, store, Reporter(db, claim, 1.0))
    with db.read() as session:
        job = jobs.get(session, claim.job_id)
        model = models.find(session, "latest")
    assert job.status is JobStatus.SUCCEEDED
    assert job.device["type"] == "cuda"
    assert job.resolved_recipe is not None
    assert job.resolved_recipe["precision"] == "bf16"
    assert job.device["peak_memory_bytes"] > 0
    assert job.metrics["test_accuracy"] > 0.97
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), np.uint8)
    on_gpu = TorchPredictor(model, store, "cuda").run(images).probabilities
    on_cpu = OnnxPredictor(model, store, 1).run(images).probabilities
    np.testing.assert_allclose(on_gpu, on_cpu, atol=0.05)  # bf16 has eight bits of mantissa
