"""worker.trainer: one attempt from the recipe to the published model.

It runs in this process and with a real network.
"""

import base64
import errno
import hashlib
import io
import itertools
import json
import logging
import os
import re
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from torch import Tensor

import worker.ood.detector_training
import worker.publishing.graph_selection
import worker.publishing.samples
import worker.publishing.trained_network
import worker.training.fit
import worker.training.learner
from core.artifacts.manifest import fetch_checked, from_tensors, read_manifest, read_tensors
from core.artifacts.model_files import OOD_SCORE, SELF_TEST_SAMPLES, TRAINING_IMAGES, WEIGHTS
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Event, Job, JobStatus, Model, Phase, Worker
from core.errors import ClaimLost, DatasetInvalid, DatasetUnavailable, JobFailure, Killed, LossNotFinite, OutOfMemory
from core.inference import training_images
from core.inference.network import Prepare, from_arrays, to_arrays
from core.inference.onnx_predictor import OnnxPredictor, softmax, threshold_of
from core.inference.ood_score import OodScorer, load_ood_scorer
from core.recipes.recipe import Recipe
from core.repositories import aliases, events, jobs, models, workers
from core.repositories.checkpoints import of_job
from core.repositories.jobs import Claim
from core.settings import Settings
from service.datasets import importer, versions
from service.datasets.extraction import Sent
from service.datasets.file_store import FileStore
from service.inference.self_test import self_test
from service.inference.torch_predictor import TorchPredictor
from service.reports.model_page import page
from tests.conftest import NOW
from tests.support.datafiles import zipped
from tests.support.fakes import model_card
from tests.support.setfiles import pets
from worker import trainer
from worker.attempt import checkpointing, feature_cache, oom_backoff, progress, setup, stages
from worker.attempt.reporter import Reporter
from worker.attempt.setup import TrainingContext, TrainingState, reset_network, set_up
from worker.attempt.stages import train
from worker.data import augmentation
from worker.data.datasets import load
from worker.data.splits import Split, channels_last, steps_per_epoch
from worker.evaluation.metrics import Answers, evaluate, score
from worker.ood.fitting import unfitted
from worker.processes.exit_codes import EXIT_CLAIM_LOST, EXIT_INTERRUPTED
from worker.publishing.exported_network import export_graph
from worker.publishing.graph_selection import MIN_IMAGES, choose
from worker.publishing.samples import look_at_samples
from worker.publishing.self_test_samples import probes
from worker.training.fit import Epoch, Interrupted, Progress
from worker.training.freezing import unfreeze
from worker.training.head_fit import DECAYS
from worker.training.mid_epoch import step_of
from worker.training.optimizer import ScaledOptimizer

RECIPE: dict[str, Any] = {
    "dataset": "digits",
    "network": "shufflenet_v2_x0_5",
    "weights": "random",
    "epochs": 2,
    "batch_size": 32,
    "train_samples": 64,
    "precision": "fp32",
    "device": "cpu",
}
LEARNING = RECIPE | {"train_samples": 256}  # with fewer, ood_score is too unsure to be exported
SOON_EXPORTED = {"network": "squeezenet1_1"}
Claimed = Callable[..., Claim]
Prepared = Callable[..., tuple[TrainingContext, TrainingState]]
JobOf = Callable[[str], Job]


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"train_threads": 1, "train_niceness": 0})


@pytest.fixture
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare tests that are not about int8 the process that quantises."""
    monkeypatch.setattr(worker.publishing.graph_selection, "MIN_IMAGES", 10**6)


@dataclass(frozen=True)
class Asked:
    """How often which image was shown to the network in torch, and to graphs."""

    of_network: Counter[bytes] = field(default_factory=Counter)
    of_graphs: Counter[bytes] = field(default_factory=Counter)

    def record(self, patch: pytest.MonkeyPatch) -> None:
        prepare, run = Prepare.forward, onnxruntime.InferenceSession.run

        def recorded_prepare(network: Prepare, images: Tensor) -> Tensor:
            if not torch.compiler.is_compiling():  # nor exporting
                self.of_network.update(image.numpy().tobytes() for image in images)
            return prepare(network, images)

        def recorded_run(graph: onnxruntime.InferenceSession, names: list[str], inputs: dict[str, Any]) -> Any:
            self.of_graphs.update(image.tobytes() for image in inputs["images"])
            return run(graph, names, inputs)

        patch.setattr(Prepare, "forward", recorded_prepare)
        patch.setattr(onnxruntime.InferenceSession, "run", recorded_run)


@dataclass(frozen=True)
class Outcome:
    job: Job
    model: Model
    events: list[Event]
    store: LocalStore
    asked: Asked


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One whole run, which the tests below inspect."""
    folder = tmp_path_factory.mktemp("run")
    settings = Settings(data_dir=folder, train_threads=1)
    db, store = Database(settings.resolved_database_url), LocalStore(folder)
    db.migrate()
    with db.write() as session:
        workers.register(session, Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
        jobs.enqueue(session, Recipe(**LEARNING), NOW - 5, queue_limit=1)
        claim = jobs.claim(session, "worker_a", NOW)
    assert claim is not None
    asked = Asked()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.training.fit, "REPORT_EVERY_S", 0)
        asked.record(patch)
        trainer.run(settings, db, store, Reporter(db, claim, 1.0))
    with db.read() as session:
        job = jobs.get(session, claim.job_id)
        told = events.after(session, claim.job_id, 0, 1000)
        result = Outcome(job, session.scalars(select(Model)).one(), told, store, asked)
    db.close()
    return result


def test_the_job_has_succeeded_with_a_model(outcome: Outcome) -> None:
    assert outcome.job.status is JobStatus.SUCCEEDED
    assert outcome.job.model_id == outcome.model.id
    assert outcome.job.error is None
    assert outcome.job.finished_at is not None


def test_the_models_files_are_there_and_whole(outcome: Outcome) -> None:
    files = read_manifest(outcome.store, outcome.model.key)["files"]
    always = {
        "weights.safetensors",
        "model.onnx",
        "model.json",
        "report.json",
        "self_test_samples.safetensors",
        OOD_SCORE,
        TRAINING_IMAGES,
    }
    assert set(files) == always | {outcome.model.card["serving"]["file"]}
    for name in files:
        fetch_checked(outcome.store, outcome.model.key, name)
    assert outcome.model.card["files"] == files


def test_the_model_passes_the_test_that_the_service_puts_it_to(outcome: Outcome) -> None:
    said = self_test(OnnxPredictor(outcome.model, outcome.store, threads=1), outcome.store)
    assert said.startswith("passed: 4 probes")


def test_the_training_image_nearest_to_a_training_image_is_itself(outcome: Outcome) -> None:
    model, store = outcome.model, outcome.store
    images = read_tensors(store, model.key, SELF_TEST_SAMPLES)["images"]  # some of the training images
    seen = OnnxPredictor(model, store, threads=1).run(images, with_features=True).features
    assert seen is not None
    nearest = training_images.find_nearest(store, model, seen, 2)
    assert all(first.distance < 0.01 and first.distance <= second.distance for first, second in nearest)
    labels = read_tensors(store, model.key, TRAINING_IMAGES)["labels"]
    assert model.card["neighbours"]["images"] == len(labels) <= model.card["neighbours"]["of"]


def test_the_card_says_what_the_model_is(outcome: Outcome) -> None:
    card = outcome.model.card
    assert (card["id"], card["job_id"]) == (outcome.model.id, outcome.job.id)
    assert (card["network"], card["dataset"], len(card["classes"])) == ("shufflenet_v2_x0_5", "digits", 10)
    assert card["best_epoch"] in (1, 2)
    assert sum(map(sum, card["confusion_matrix"])) == 360
    assert sum(row["images"] for row in card["per_class"]) == 360
    assert outcome.model.test_accuracy == card["metrics"]["test_accuracy"] == card["test"]["correct"] / 360
    assert outcome.job.metrics["test"] == card["test"]


def test_the_report_tells_how_it_became_so_and_where_it_errs(outcome: Outcome) -> None:
    card = outcome.model.card
    report = json.loads(fetch_checked(outcome.store, outcome.model.key, "report.json").read_bytes())
    told = ("id", "recipe", "metrics", "confusion_matrix", "per_class", "dataset_digest", "versions", "classes")
    assert report["test_digest"] == card["test_digest"]
    assert {name: report[name] for name in told} == {name: card[name] for name in told}
    assert [epoch["epoch"] for epoch in report["history"]] == [1, 2]
    assert report["images"] == {"train": 256, "validation": 144, "test": 360}
    assert 0 < len(report["mistakes"]) <= 25
    assert sum(one["count"] for one in report["calibration"]["bins_after"]) == 360


def test_its_onnx_file_says_all_that_its_user_needs(outcome: Outcome) -> None:
    path = fetch_checked(outcome.store, outcome.model.key, "model.onnx")
    graph = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    said, data = graph.get_modelmeta().custom_metadata_map, load("digits", Settings())
    assert (said["model_id"], said["weights"]) == (outcome.model.id, "random")
    assert "weights_license" not in said
    predictor = OnnxPredictor(in_full_precision(outcome.model), outcome.store, threads=1)
    for count in (1, 3):
        images = np.asarray(data.test_images)[:count]
        found = graph.run(["logits", "ood_score"], {json.loads(said["input"])["name"]: images})
        logits, score = (np.asarray(values, np.float32) for values in found)
        outputs = predictor.run(images)
        scaled = (logits / float(said["temperature"])).astype(np.float32)
        np.testing.assert_allclose(softmax(scaled), outputs.probabilities, rtol=1e-4)
        assert outputs.ood_score is not None
        np.testing.assert_allclose(score / float(said["ood_threshold"]), outputs.ood_score, rtol=1e-4)
    told = OnnxPredictor(outcome.model, outcome.store, threads=1)
    assert tuple(json.loads(said["classes"])) == told.classes
    served = onnx.load(fetch_checked(outcome.store, outcome.model.key, outcome.model.card["serving"]["file"]))
    limit = {entry.key: entry.value for entry in served.metadata_props}["ood_threshold"]
    assert float(limit) == threshold_of(outcome.model)


def test_the_probabilities_are_calibrated_on_the_validation_part(outcome: Outcome) -> None:
    told = outcome.model.card["calibration"]
    assert told["fitted_on"].startswith("144 validation images")
    assert told["nll_before"] == pytest.approx(outcome.model.card["metrics"]["test_loss"])
    assert 0.05 <= told["temperature"] <= 20


def in_full_precision(model: Model) -> Model:
    """Return the model as served by its graph in fp32.

    It does not matter which graph was chosen.
    """
    return Model(id=model.id, key=model.key, card=model.card | {"serving": {"file": "model.onnx"}})


def test_an_image_is_as_strange_to_either_engine(outcome: Outcome) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), np.uint8)
    served = OnnxPredictor(in_full_precision(outcome.model), outcome.store, threads=1).run(noise).ood_score
    own = TorchPredictor(outcome.model, outcome.store, "cpu").run(noise).ood_score
    assert served is not None, outcome.model.card["ood"]
    assert own is not None
    np.testing.assert_allclose(served, own, rtol=0.01)


def test_what_abstaining_costs_and_the_calibration_are_those_of_the_graph_that_serves(outcome: Outcome) -> None:
    card, data = outcome.model.card, load("digits", Settings())
    outputs = OnnxPredictor(outcome.model, outcome.store, threads=1).run(np.asarray(data.test_images))
    assert outputs.ood_score is not None
    told = card["ood"]
    assert told["validation_abstained"] <= 0.02
    assert (told["test_images"], told["test_abstained"]) == (
        360,
        pytest.approx((outputs.ood_score > 1).mean(), abs=0.003),
    )
    answers = Answers(torch.from_numpy(outputs.probabilities).log(), torch.from_numpy(data.test_labels))
    assert card["calibration"]["nll_after"] == pytest.approx(score(answers).loss, abs=1e-3)
    assert card["metrics"]["test_accuracy"] == pytest.approx(score(answers).accuracy)


def test_the_report_can_be_shown_as_a_page(outcome: Outcome) -> None:
    report = json.loads(outcome.store.fetch(f"{outcome.model.key}/report.json").read_bytes())
    shown = page("digits/1", report)
    titles = [
        "Learning curves",
        "Confusion matrix",
        "Classes",
        "Calibration",
        "Worst mistakes",
        "What serves",
        "Recipe",
    ]
    assert re.findall("<h2>(.*?)</h2>", shown) == titles
    assert shown.count('src="data:image/png') == len(report["mistakes"])
    assert shown.count('src="data:image/svg+xml') == 3
    assert outcome.model.card["serving"]["reason"] in shown


def test_the_service_answers_the_mistakes_as_the_report_says(outcome: Outcome) -> None:
    mistakes = json.loads(outcome.store.fetch(f"{outcome.model.key}/report.json").read_bytes())["mistakes"]
    pictures = [Image.open(io.BytesIO(base64.b64decode(mistake["png"]))) for mistake in mistakes]
    images = np.stack([np.asarray(picture)[:, :, None] for picture in pictures])
    answers = OnnxPredictor(outcome.model, outcome.store, threads=1).run(images).probabilities
    for probabilities, mistake in zip(answers, mistakes, strict=True):
        assert outcome.model.card["classes"][probabilities.argmax()] == mistake["answer"]["label"]
        assert probabilities.max() == pytest.approx(mistake["answer"]["probability"], abs=1e-4)


def test_each_test_image_is_answered_once(outcome: Outcome) -> None:
    """Each test image is answered once, by the graph that serves.

    The network, in torch, sees none.
    """
    data, asked = load("digits", Settings()), outcome.asked
    of_test = Counter(image.tobytes() for image in np.asarray(data.test_images))
    alone = of_test.keys() - {image.tobytes() for image in np.asarray(data.train_images)}
    assert len(alone) > 300
    assert {image: asked.of_graphs[image] for image in alone} == {image: of_test[image] for image in alone}
    assert not alone & asked.of_network.keys()
    assert len(asked.of_network) > 200  # it saw others


def test_the_job_shows_how_good_it_became(outcome: Outcome) -> None:
    metrics = outcome.job.metrics
    for name in ("train_loss", "validation_loss", "test_loss"):
        assert metrics[name] > 0
    for name in ("train_accuracy", "validation_accuracy", "test_accuracy"):
        assert 0 <= metrics[name] <= 1
    trace = sum(row[index] for index, row in enumerate(outcome.model.card["confusion_matrix"]))
    assert metrics["test_accuracy"] == pytest.approx(trace / 360)


def test_the_job_shows_where_its_time_went(outcome: Outcome) -> None:
    timing = outcome.job.timing
    assert timing["queued_s"] == pytest.approx(5)
    parts = ("preparing_s", "train_s", "evaluate_s", "publish_s")
    assert set(timing["publish"]) == {"ood_s", "export_s", "quantize_s", "test_s", "package_s"}
    assert sum(timing["publish"].values()) <= timing["publish_s"]
    assert all(timing[part] > 0 for part in parts)
    assert timing["total_s"] >= sum(timing[part] for part in parts)
    assert timing["images_per_s"] > 0
    assert timing["flop_per_s"] > 1e6
    assert 0 < timing["data_wait_s"] < timing["train_s"]
    assert set(timing["time_to_accuracy"]) == {"0.9", "0.97", "0.99"}
    assert outcome.job.device["peak_memory_bytes"] > 2**20


def test_every_phase_was_gone_through_in_order(outcome: Outcome) -> None:
    phases = outcome.job.phases
    assert [entry["phase"] for entry in phases] == [
        "starting",
        "preparing_data",
        "training",
        "evaluating",
        "publishing",
    ]
    assert all(before["ended_at"] == after["started_at"] for before, after in itertools.pairwise(phases))
    assert phases[-1]["ended_at"] >= phases[-1]["started_at"]


def test_its_events_are_numbered_without_gaps(outcome: Outcome) -> None:
    assert [event.number for event in outcome.events] == list(range(1, outcome.job.last_event + 1))
    assert [event.data["epoch"] for event in outcome.events if event.kind == "metrics"] == [1, 2]
    assert [event.data["epoch"] for event in outcome.events if event.kind == "checkpoint"] == [1, 2]
    assert outcome.events[-1].data == {"status": "succeeded"}


def test_an_event_says_whether_the_new_version_serves_and_why(outcome: Outcome) -> None:
    messages = [event.data["message"] for event in outcome.events if event.kind == "log"]
    assert messages[-1] == "digits/1 serves: nothing was serving under the name digits"


def test_within_epochs_the_history_has_steps(outcome: Outcome) -> None:
    told = [event.data for event in outcome.events if event.kind == "step"]
    assert [record["step"] for record in told] == list(range(1, 17))  # 6 % each
    assert {record["epochs"] for record in told} == {2}
    assert all(0 < record["train_loss"] < 10 and record["images_per_s"] > 0 for record in told)


def test_of_many_steps_fifty_are_kept(quick: Settings, db: Database, store: LocalStore, claimed: Claimed) -> None:
    claim = claimed(**RECIPE)
    context, state = set_up(quick, db, store, attempt(db, quick, claim))
    reporter = progress.ProgressReporter(context)
    for step in range(1, 201):
        reporter.show(state, Progress(1, step, 200, 0.5, 0.9, 0.01, 100.0))
    with db.read() as session:
        told = events.after(session, claim.job_id, 0, 1000, "step")
    assert [event.data["step"] for event in told] == list(range(4, 201, 4))


def test_it_is_all_done(outcome: Outcome) -> None:
    assert outcome.job.progress == {"epoch": 2, "epochs": 2, "step": 16, "steps": 16, "percent": 100.0}
    assert outcome.job.estimated_finish is None


def test_nothing_of_the_recipe_was_left_open(outcome: Outcome) -> None:
    resolved = outcome.job.resolved_recipe
    assert resolved is not None
    assert "auto" not in resolved.values()
    assert {name: resolved[name] for name in LEARNING} == LEARNING
    assert outcome.job.device["type"] == "cpu"


@pytest.mark.usefixtures("in_fp32")
def test_a_detector_is_trained_and_served_where_the_images_allow_it(
    quick: Settings,
    db: Database,
    store: LocalStore,
    claimed: Claimed,
    job_of: JobOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the embedded digits are enlarged
    monkeypatch.setattr(worker.publishing.trained_network, "can_train", lambda *_: True)
    for name, few in (("STEPS", 3), ("OUTLIERS", 200), ("DRAWN_DIGITS", 50)):
        monkeypatch.setattr(worker.ood.detector_training, name, few)
    claim = claimed(**LEARNING | {"epochs": 1})
    trainer.run(quick, db, store, attempt(db, quick, claim))
    job = job_of(claim.job_id)
    assert job.status is JobStatus.SUCCEEDED
    publishing = [entry for entry in job.phases if entry["phase"] == "publishing"]
    assert [entry["message"] for entry in publishing] == [
        "training the out-of-distribution detector",
        "making its graphs",
    ]
    took = sum(entry["ended_at"] - entry["started_at"] for entry in publishing)
    assert job.timing["publish_s"] == pytest.approx(took, abs=1)
    with db.read() as session:
        (model,) = session.scalars(select(Model))
    assert "detector" in model.card["ood"]["method"]
    scored = load_ood_scorer(from_arrays(read_tensors(store, model.key, OOD_SCORE)))
    assert isinstance(scored, OodScorer)
    assert scored.detector is not None
    noise = torch.randint(0, 256, (8, 28, 28, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    served = OnnxPredictor(in_full_precision(model), store, threads=1).run(noise.numpy()).ood_score
    own = TorchPredictor(model, store, "cpu").run(noise.numpy()).ood_score
    assert served is not None
    assert own is not None
    np.testing.assert_allclose(served, own, rtol=0.01)


# -- attempts that do not get so far


def attempt(db: Database, settings: Settings, claim: Claim) -> Reporter:
    return Reporter(db, claim, settings.heartbeat_interval_s)


@pytest.mark.usefixtures("in_fp32")
def test_a_job_that_was_interrupted_goes_on_from_its_checkpoint(
    quick: Settings,
    db: Database,
    store: LocalStore,
    claimed: Claimed,
    job_of: JobOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claim = claimed(**RECIPE | SOON_EXPORTED)
    report = attempt(db, quick, claim)
    real = report.event

    def stop_after_a_checkpoint(kind: str, *rest: Any, **columns: Any) -> None:
        real(kind, *rest, **columns)
        if kind == "checkpoint":
            report.stop.set()

    monkeypatch.setattr(report, "event", stop_after_a_checkpoint)
    with pytest.raises(Interrupted):
        trainer.run(quick, db, store, report)
    assert job_of(claim.job_id).progress["percent"] == 50.0
    with db.write() as session:
        jobs.release(session, claim, "test", NOW)
        again = jobs.claim(session, "worker_a", NOW)
    assert again is not None
    trainer.run(quick, db, store, attempt(db, quick, again))
    job = job_of(claim.job_id)
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 2)
    with db.read() as session:
        made = [(row.attempt, row.epoch) for row in of_job(session, claim.job_id)]
    assert made == [(2, 2), (1, 1)]
    assert job.resumed_from is not None


@pytest.mark.usefixtures("in_fp32")
def test_an_attempt_that_lost_its_job_publishes_nothing(
    quick: Settings, db: Database, store: LocalStore, claimed: Claimed, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(**RECIPE | SOON_EXPORTED | {"epochs": 1})

    def lose_meanwhile(*given: Any) -> bytes:
        with db.write() as session:
            jobs.release(session, claim, "test", NOW)
        return probes(*given)

    monkeypatch.setattr("worker.publishing.package.probes", lose_meanwhile)
    with pytest.raises(ClaimLost):
        trainer.run(quick, db, store, attempt(db, quick, claim))
    assert job_of(claim.job_id).status is JobStatus.QUEUED
    with db.read() as session:
        assert session.scalars(select(Model)).all() == []
        assert aliases.targets(session, "digits") == {}


def test_progress_within_an_epoch_says_when_it_will_be_done(
    quick: Settings, db: Database, store: LocalStore, claimed: Claimed, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(**RECIPE)
    seen: list[Job] = []
    monkeypatch.setattr(worker.training.fit, "REPORT_EVERY_S", 0)
    show = progress.ProgressReporter.show

    def show_once(*rest: Any) -> None:
        show(*rest)
        seen.append(job_of(claim.job_id))
        raise Interrupted

    monkeypatch.setattr(progress.ProgressReporter, "show", show_once)
    with pytest.raises(Interrupted):
        trainer.run(quick, db, store, attempt(db, quick, claim))
    (job,) = seen
    assert job.progress == {"epoch": 1, "epochs": 2, "step": 1, "steps": 4, "percent": 25.0}
    assert job.metrics["train_loss"] > 0
    assert job.estimated_finish is not None
    assert job.heartbeat_at is not None
    assert job.estimated_finish > job.heartbeat_at


def test_the_estimated_finish_is_now_and_the_time_of_the_steps_that_are_left(prepared: Prepared, job_of: JobOf) -> None:
    context, state = prepared(epochs=2)
    reporter = progress.ProgressReporter(context)
    step_s = 100.0
    for step in (1, 2, 3, 4):
        now = Progress(
            epoch=(step + 1) // 2,
            step=step,
            steps=4,
            loss=1.0,
            accuracy=0.5,
            learning_rate=0.1,
            images_per_s=state.recipe.batch_size / step_s,
        )
        before = time.time()
        reporter.show(state, now)
        finish = job_of(context.report.claim.job_id).estimated_finish
        assert finish is not None
        assert before - 1e-3 <= finish - (4 - step) * step_s <= time.time() + 1e-3  # rounding


def test_what_is_told_of_time_only_grows_and_loses_nothing(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    context, state = prepared(epochs=3)
    seen: list[dict[str, Any]] = []
    write = jobs.record

    def note(*given: Any, **columns: Any) -> None:
        seen.extend([columns["timing"]] if "timing" in columns else [])
        write(*given, **columns)

    monkeypatch.setattr(worker.training.fit, "REPORT_EVERY_S", 0)
    monkeypatch.setattr(jobs, "record", note)
    train(context, state)
    spent = [timing["train_s"] for timing in seen]
    assert len(spent) == 3 * 2 + 3  # two steps and the end of each epoch
    assert spent == sorted(spent)
    assert spent[-1] <= context.report.seconds_in(Phase.TRAINING)
    assert all(timing["preparing_s"] > 0 and "time_to_accuracy" in timing for timing in seen)


@pytest.mark.usefixtures("in_fp32")
def test_without_a_validation_part_the_last_epoch_is_published(
    quick: Settings, db: Database, store: LocalStore, claimed: Claimed, job_of: JobOf
) -> None:
    claim = claimed(**RECIPE | SOON_EXPORTED | {"validation_fraction": 0.0, "epochs": 1})
    trainer.run(quick, db, store, attempt(db, quick, claim))
    job = job_of(claim.job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert job.metrics["validation_accuracy"] is None
    with db.read() as session:
        card = models.find(session, "digits@latest").card
    assert card["best_epoch"] == 1
    assert card["calibration"]["temperature"] == 1
    assert card["calibration"]["fitted_on"] == "nothing: 0 validation images are fewer than 50"


# -- the process's edge


@pytest.fixture
def main(quick: Settings, claimed: Claimed, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception | None], int]:
    """Run ``main()`` for a claimed job whose run ends so.

    What would change this process is left out.
    """
    claim = claimed(**RECIPE)

    def call(end: Exception | None) -> int:
        def run(*_: object) -> None:
            if end is not None:
                raise end

        for name, value in quick.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["trainer", claim.job_id, str(claim.attempt)])
        monkeypatch.setattr(trainer, "run", run)
        monkeypatch.setattr(trainer, "die_with_parent", lambda: None)
        monkeypatch.setattr(Reporter, "start_heartbeat", lambda _self: None)
        monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
        monkeypatch.setattr("signal.signal", lambda *_: None)
        monkeypatch.setattr(os, "nice", lambda _by: 0)
        return trainer.main()

    return call


@pytest.mark.parametrize(
    ("end", "code"), [(None, 0), (Interrupted(), EXIT_INTERRUPTED), (ClaimLost(), EXIT_CLAIM_LOST)]
)
def test_an_end_that_is_no_failure_is_told_by_the_exit_code(
    main: Callable[[Exception | None], int], db: Database, end: Exception | None, code: int
) -> None:
    assert main(end) == code
    with db.read() as session:
        assert session.scalars(select(Job)).one().status is JobStatus.RUNNING  # the loop decides what becomes of it


@pytest.mark.parametrize(
    ("end", "code"), [(DatasetInvalid("broken"), "dataset_invalid"), (MemoryError("no more"), "out_of_memory")]
)
def test_a_failure_is_in_the_jobs_row_with_its_traceback(
    main: Callable[[Exception | None], int], db: Database, end: Exception, code: str
) -> None:
    assert main(end) == 0
    with db.read() as session:
        job = session.scalars(select(Job)).one()
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error["code"] == code
    assert str(end) in job.error["message"]
    assert "Traceback" in job.error["traceback_tail"]
    assert "test_trainer.py" in job.error["traceback_tail"]


def test_a_failure_of_a_job_that_is_anothers_is_not_written(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    claim = claimed()
    with db.write() as session:
        jobs.release(session, claim, "test", NOW)
    trainer._record_failure(db, claim, DatasetInvalid("broken"))
    job = job_of(claim.job_id)
    assert (job.status, job.error) == (JobStatus.QUEUED, None)


def test_a_failure_is_told_though_the_database_has_no_room_at_first(
    db: Database, claimed: Claimed, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = iter([OperationalError("UPDATE jobs", {}, sqlite3.OperationalError("database or disk is full"))])
    fail = jobs.fail

    def fails_at_first(*told: Any) -> None:
        for error in full:
            raise error
        fail(*told)

    monkeypatch.setattr(jobs, "fail", fails_at_first)
    monkeypatch.setattr(trainer, "RETRY_S", 0)
    claim = claimed()
    trainer._record_failure(db, claim, OSError(errno.ENOSPC, "No space left on device"))
    error = job_of(claim.job_id).error
    assert error is not None
    assert error["code"] == "disk_full"


def test_only_the_end_of_a_long_traceback_is_kept(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    claim = claimed()
    trainer._record_failure(db, claim, ValueError("x" * 10_000 + "the end"))
    error = job_of(claim.job_id).error
    assert error is not None
    assert len(error["traceback_tail"]) == trainer.TRACEBACK_TAIL
    assert error["traceback_tail"].endswith("the end\n")


def test_a_traceback_is_cut_between_two_lines_and_says_so(db: Database, claimed: Claimed, job_of: JobOf) -> None:
    lines = [f"line {number}" for number in range(1_000)]
    claim = claimed()
    trainer._record_failure(db, claim, ValueError("\n".join(lines)))
    error = job_of(claim.job_id).error
    assert error is not None
    first, *kept = error["traceback_tail"].splitlines()
    assert first == trainer.TRACEBACK_CUT.strip()
    assert kept == lines[-len(kept) :]
    assert len(error["traceback_tail"]) <= trainer.TRACEBACK_TAIL


def test_data_that_cannot_be_had_is_found_out_before_any_step(
    quick: Settings, db: Database, store: LocalStore, claimed: Claimed, tmp_path: Path
) -> None:
    claim = claimed(**RECIPE | {"dataset": "mnist"})
    nowhere = quick.model_copy(update={"datasets_mirror": (tmp_path / "nowhere").as_uri()})
    with pytest.raises(DatasetUnavailable):
        trainer.run(nowhere, db, store, attempt(db, nowhere, claim))
    with db.read() as session:
        assert [event.kind for event in events.after(session, claim.job_id, 0, 100, "metrics")] == []


@pytest.mark.usefixtures("in_fp32")
def test_a_frozen_backbone_is_published_as_it_was_and_only_the_head_has_learned(
    quick: Settings, db: Database, store: LocalStore, claimed: Claimed, job_of: JobOf
) -> None:
    first = claimed(**RECIPE | SOON_EXPORTED | {"epochs": 1})
    trainer.run(quick, db, store, attempt(db, quick, first))
    model_id = job_of(first.job_id).model_id
    claim = claimed(**RECIPE | SOON_EXPORTED | {"weights": model_id, "freeze": "backbone", "epochs": 2})
    trainer.run(quick, db, store, attempt(db, quick, claim))
    with db.read() as session:
        told = [event.data["message"] for event in events.after(session, claim.job_id, 0, 100, "log")]
        before, after = (
            read_tensors(store, models.find(session, str(name)).key, "weights.safetensors")
            for name in (model_id, job_of(claim.job_id).model_id)
        )
    assert any(message.startswith("cached ") for message in told)
    changed = {name for name, array in after.items() if not (array == before[name]).all()}
    assert changed
    assert all("classifier" in name or "fc" in name for name in changed)


# -- ways through the training itself


@pytest.fixture
def prepared(quick: Settings, db: Database, store: LocalStore, claimed: Claimed) -> Prepared:
    def prepare(**recipe: Any) -> tuple[TrainingContext, TrainingState]:
        claim = claimed(**RECIPE | recipe)
        return set_up(quick, db, store, attempt(db, quick, claim))

    return prepare


def told(context: TrainingContext) -> list[str]:
    with context.db.read() as session:
        found = events.after(session, context.report.claim.job_id, 0, 1000, "log")
    return [event.data["message"] for event in found]


def weights_of(context: TrainingContext) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in context.network.state_dict().items()}


def test_a_whole_job_with_the_same_seed_ends_in_the_same_bits(prepared: Prepared) -> None:
    def digest(seed: int) -> str:
        context, state = prepared(seed=seed, augmentation="digits", ema=0.9)
        train(context, state)
        return hashlib.sha256(from_tensors(to_arrays(context.network))).hexdigest()

    assert digest(seed=7) == digest(seed=7) != digest(seed=8)


def test_a_model_is_trained_again_to_the_same_bits_after_three_replacements(
    quick: Settings, db: Database, store: LocalStore, tmp_path: Path, claimed: Claimed
) -> None:
    """A rerun trains the same model after its data set was replaced.

    Everything "auto" in its recipe is decided as it was, and the data set is the version that it saw.
    """

    def upload(version: int) -> None:
        files = FileStore(quick.dataset_files_dir)
        body = tmp_path / "body"
        body.write_bytes(zipped(pets("cat", "dog", each=8, above=f"version {version}/")))
        with files.aside() as aside:
            built = importer.build([Sent("", body)], aside / "built", quick)
            arrived = versions.Arrived(built, aside / "built")
            with db.write() as session:
                assert versions.replace(session, quick, "pets", arrived, may_replace=True).version == version

    def trained(**recipe: Any) -> tuple[str, dict[str, Any], list[str]]:
        context, state = set_up(quick, db, store, attempt(db, quick, claimed(**recipe)))
        state = train(context, state)
        weights = hashlib.sha256(from_tensors(to_arrays(context.network))).hexdigest()
        said = [message for message in told(context) if not message.startswith("photos of")]
        return weights, checkpointing.describe(context, state), said

    asked = {name: value for name, value in RECIPE.items() if name not in ("train_samples", "batch_size")}
    upload(1)
    first, card, _ = trained(**asked | {"dataset": "pets", "image_size": 32, "augmentation": "photos"})
    with db.write() as session:
        models.publish(session, "model_1", card["job_id"], "models/model_1", model_card(name="pets") | card, NOW)
    for version in (2, 3, 4):
        upload(version)
    with db.read() as session:
        again = models.rerun_of(session, Recipe(rerun="pets"))
        newest = models.rerun_of(session, Recipe(rerun="pets/1", dataset="pets"))
    assert [recipe.dataset for recipe in (again, newest)] == ["pets/1", "pets"]
    same, other = (trained(**recipe.model_dump()) for recipe in (again, newest))
    assert (same[0], same[1]["dataset"], same[2]) == (first, "pets/1", [])
    assert other[0] != first
    assert other[2] == ["the images of pets/4 are not those that model_1 was trained on"]


def test_augmentation_and_class_weights_change_what_is_learnt(prepared: Prepared) -> None:
    """Augmentation and class weights change the learnt weights.

    Each recipe differs from the plain one in one setting; with the same settings the weights are the same bits.
    """
    learnt = set()
    for recipe in ({"augmentation": "none"}, {"augmentation": "digits"}, {"class_weights": "balanced"}):
        context, state = prepared(**{"epochs": 1, "augmentation": "none", "class_weights": "none"} | recipe)
        counts = torch.bincount(context.splits.train.labels)
        assert counts.min() < counts.max()  # else balanced weights are all 1
        train(context, state)
        learnt.add(hashlib.sha256(from_tensors(to_arrays(context.network))).hexdigest())
    assert len(learnt) == 3


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_the_epoch_is_chosen_by_the_classes_recall_where_they_are_balanced(prepared: Prepared, weights: str) -> None:
    context, state = prepared(epochs=1, class_weights=weights)
    metrics = train(context, state).history[-1]
    found = evaluate(context.network, context.prepare, context.splits.validation, len(context.dataset.classes))
    assert metrics["validation_accuracy"] == found.accuracy != found.macro_recall
    assert metrics["validation_score"] == (found.macro_recall if weights == "balanced" else found.accuracy)


def test_the_serving_graph_is_chosen_without_a_look_at_the_test_images(prepared: Prepared) -> None:
    class Unseen:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"the test images' {name} was asked for")

        def __len__(self) -> int:
            raise AssertionError("the test images were counted")

    context, state = prepared(**SOON_EXPORTED, epochs=1, train_samples=256)
    trained = trainer._trained(context, train(context, state))
    unseen = replace(trained, splits=replace(trained.splits, test=cast(Split, Unseen())))
    samples = look_at_samples(unseen)
    exported = export_graph(unseen, samples, unfitted("no score here"))
    choice = choose(exported.graph.onnx, samples.train, samples.validation)
    assert len(samples.validation) > MIN_IMAGES
    assert choice.record["reason"]


def test_mean_and_standard_deviation_are_those_of_the_training_images(prepared: Prepared) -> None:
    context, _ = prepared()
    splits = context.splits
    (train_is, *others) = (
        (images.float().mean().item() / 255, images.float().std(correction=0).item() / 255)
        for images in (part.images for part in (splits.train, splits.validation, splits.test))
        if isinstance(images, Tensor)
    )
    assert len(others) == 2
    for number, found in enumerate((context.preparation.mean, context.preparation.std)):
        assert found == pytest.approx([train_is[number]] * 3, rel=1e-4)
        assert all(other[number] != pytest.approx(train_is[number], rel=1e-3) for other in others)


def test_training_ends_early_when_nothing_rises_any_more(prepared: Prepared) -> None:
    context, state = prepared(epochs=9, learning_rate=1e-9, early_stopping={"patience": 2, "min_delta": 0.5})
    state = train(context, state)
    assert len(state.history) in (2, 3)
    assert told(context)[-1].startswith("ended after epoch")
    assert train(context, state) == state  # a new attempt finds nothing to do


def test_a_frozen_part_is_trained_too_when_its_time_has_come(prepared: Prepared) -> None:
    context, state = prepared(epochs=2, freeze="backbone", unfreeze_after=1)
    first = weights_of(context)
    changed: list[set[str]] = []
    keep = checkpointing.save

    def note(*given: Any) -> None:
        now = weights_of(context)
        changed.append({name for name in now if not torch.equal(now[name], first[name])})
        keep(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpointing, "save", note)
        state = train(context, state)
    assert changed[0] == {"fc.weight", "fc.bias"}
    assert "conv1.0.weight" in changed[1]
    assert [metrics["epoch"] for metrics in state.history] == [1, 2]


def test_a_new_head_is_fitted_before_its_first_step_where_all_is_trained_soon(prepared: Prepared) -> None:
    def change(**recipe: Any) -> float:
        context, state = prepared(epochs=2, freeze="backbone", learning_rate=1e-9, augmentation="none", **recipe)
        first = weights_of(context)["fc.weight"]
        train(context, state)
        return float((weights_of(context)["fc.weight"] - first).abs().max())

    assert change() < 1e-6
    assert change(unfreeze_after=1) > 1e-3


@pytest.mark.parametrize(("few", "changes"), [(1_000, False), (10, True)])
def test_batch_norm_keeps_its_statistics_where_few_images_would_spoil_them(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, few: int, changes: bool
) -> None:
    monkeypatch.setattr(stages, "FEW_IMAGES", few)
    context, state = prepared(epochs=2, freeze="backbone", unfreeze_after=1)
    first = weights_of(context)
    train(context, state)
    now = weights_of(context)
    assert not torch.equal(now["conv1.0.weight"], first["conv1.0.weight"])
    assert torch.equal(now["conv1.1.running_mean"], first["conv1.1.running_mean"]) is not changes


def test_a_head_is_fitted_in_one_go_with_a_decay_chosen_or_given(prepared: Prepared, job_of: JobOf) -> None:
    context, state = prepared(epochs=1, freeze="backbone", optimizer="lbfgs")
    first = weights_of(context)
    state = train(context, state)
    now = weights_of(context)
    assert {name for name in now if not torch.equal(now[name], first[name])} == {"fc.weight", "fc.bias"}
    assert state.recipe.weight_decay in DECAYS
    job = job_of(context.report.claim.job_id)
    assert job.resolved_recipe is not None
    assert job.resolved_recipe["weight_decay"] == state.recipe.weight_decay
    assert train(*prepared(epochs=1, freeze="backbone", optimizer="lbfgs", weight_decay=0.2)).recipe.weight_decay == 0.2


def test_what_publishing_wants_of_a_heads_features_is_not_computed_again(prepared: Prepared) -> None:
    context, state = prepared(epochs=1, freeze="backbone", optimizer="lbfgs")
    state = train(context, state)
    trained, seen = trainer._trained(context, state), []
    context.network.get_submodule("conv1").register_forward_hook(lambda *call: seen.append(call[-1].device))
    kept = look_at_samples(trained)
    assert torch.device("cpu") not in seen  # the arithmetic is counted on the device meta
    anew = look_at_samples(replace(trained, kept=None))
    for known, found in ((kept.train, anew.train), (kept.validation, anew.validation)):
        torch.testing.assert_close(known.logits, found.logits, rtol=1e-3, atol=1e-4)
        assert torch.equal(known.part.some([0]), found.part.some([0]))


def test_where_features_are_kept_more_images_are_compared_than_the_sample(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.publishing.samples, "MAX_TRAINING_SAMPLE", 50)
    context, state = prepared(epochs=1, freeze="backbone", optimizer="lbfgs")
    samples = look_at_samples(trainer._trained(context, train(context, state)))
    assert (len(samples.train), len(samples.neighbours)) == (50, len(context.splits.train))
    assert samples.neighbours.features is not None
    assert len(samples.neighbours.features) == len(samples.neighbours)


def test_a_pause_is_heard_while_the_frozen_part_runs(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    context, state = prepared(freeze="backbone")
    context.report.stop.set()
    monkeypatch.setattr(stages, "fit", None)  # nothing comes so far
    assert train(context, state).interrupted


def test_the_frozen_parts_time_is_told_and_belongs_to_the_time_to_an_accuracy(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, state = prepared(freeze="backbone", epochs=1)
    monkeypatch.setattr(feature_cache, "LOG_EVERY_S", 0)
    monkeypatch.setattr(progress, "ACCURACY_MARKS", (0.0,))
    state = train(context, state)
    assert "activations of the frozen part: 64 of 208 images" in told(context)
    timing = progress.timing(context, state)
    assert timing["features_s"] > 0
    assert timing["time_to_accuracy"] == {"0.0": pytest.approx(timing["features_s"] + timing["train_s"])}


def test_images_are_augmented_from_the_unfreezing_on_and_activations_kept_until_then(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    augmented: list[torch.Size] = []

    def augment(images: Tensor) -> Tensor:
        augmented.append(images.shape)
        return images

    monkeypatch.setattr(augmentation, "SETS", {"none": augmentation.none, "digits": augment})
    context, state = prepared(epochs=2, freeze="backbone", unfreeze_after=1, augmentation="digits")
    train(context, state)
    assert any("of activations of the frozen part" in message for message in told(context))
    per_epoch = steps_per_epoch(len(context.splits.train), state.recipe.batch_size)
    assert len(augmented) == per_epoch  # those of one epoch of two
    assert {shape[1] for shape in augmented} == {3}  # images


def test_patience_that_runs_out_while_a_part_is_frozen_unfreezes_it(prepared: Prepared) -> None:
    patience = {"patience": 1, "min_delta": 0.9}
    context, state = prepared(epochs=6, freeze="backbone", unfreeze_after=4, early_stopping=patience)
    first = weights_of(context)["conv1.0.weight"]
    state = train(context, state)
    ends = [number for number, message in enumerate(told(context)) if "no longer gets better" in message]
    assert len(ends) == 2
    assert told(context)[ends[0]].startswith("the frozen part is trained too after epoch")
    assert told(context)[ends[1]].startswith("ended after epoch")
    assert not torch.equal(weights_of(context)["conv1.0.weight"], first)
    assert len(state.history) < 6
    assert train(context, state) == state  # a new attempt finds nothing to do


def test_a_frozen_stage_that_was_interrupted_is_unfrozen_as_if_it_had_not_been(
    quick: Settings, db: Database, store: LocalStore, claimed: Claimed, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen_first = RECIPE | {"epochs": 2, "freeze": "backbone", "unfreeze_after": 1}
    whole, state = set_up(quick, db, store, attempt(db, quick, claimed(**frozen_first)))
    train(whole, state)
    claim = claimed(**frozen_first)
    first, state = set_up(quick, db, store, attempt(db, quick, claim))
    stop_after_steps(monkeypatch, 1)
    assert train(first, state).interrupted
    monkeypatch.undo()
    with db.write() as session:
        jobs.release(session, claim, "test", NOW)
        again = jobs.claim(session, "worker_a", NOW)
    assert again is not None
    second, state = set_up(quick, db, store, attempt(db, quick, again))
    state = checkpointing.resume(second, state)
    assert step_of(state.optimizer_state) == 1
    train(second, state)
    assert [
        name for name, tensor in weights_of(second).items() if not torch.equal(tensor, weights_of(whole)[name])
    ] == []


def stop_after_steps(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Make training stop after that many steps, as a pause does."""
    asked = itertools.count()
    fit: Callable[..., Iterator[Epoch]] = worker.training.fit.fit

    def stopping(*given: Any) -> Iterator[Epoch]:
        *others, callbacks = given
        return fit(*others, replace(callbacks, should_stop=lambda: next(asked) >= count))

    monkeypatch.setattr(stages, "fit", stopping)


def test_a_batch_that_does_not_fit_the_memory_is_halved_and_told(
    prepared: Prepared, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, state = prepared(epochs=1, batch_size=32, learning_rate=0.08)
    small_memory(monkeypatch, largest=8)
    state = train(context, state)
    assert (state.recipe.batch_size, state.recipe.learning_rate) == (8, 0.02)
    assert [message for message in told(context) if "out of memory" in message] == [
        "out of memory: batch size 16, learning rate 0.04 from here on",
        "out of memory: batch size 8, learning rate 0.02 from here on",
    ]
    resolved = job_of(context.report.claim.job_id).resolved_recipe
    assert resolved is not None
    assert resolved["batch_size"] == 8


def test_a_new_beginning_has_the_first_weights_and_what_was_frozen_then(prepared: Prepared) -> None:
    context, state = prepared(freeze="backbone")
    first = weights_of(context)
    trained = {name for name, parameter in context.network.named_parameters() if parameter.requires_grad}
    unfreeze(context.network)
    with torch.no_grad():
        for parameter in context.network.parameters():
            parameter.add_(1)
    reset_network(context, state.recipe)
    assert [name for name, tensor in weights_of(context).items() if not torch.equal(tensor, first[name])] == []
    assert {name for name, parameter in context.network.named_parameters() if parameter.requires_grad} == trained


def test_what_was_learned_before_the_memory_ran_out_is_not_lost(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, state = prepared(epochs=2, batch_size=32)
    save = checkpointing.save

    def then_less_memory(*rest: Any) -> None:
        save(*rest)
        small_memory(monkeypatch, largest=16)

    monkeypatch.setattr(checkpointing, "save", then_less_memory)
    state = train(context, state)
    assert [metrics["epoch"] for metrics in state.history] == [1, 2]
    assert state.recipe.batch_size == 16
    assert any(message.startswith("resumed from") for message in told(context))


def test_an_attempt_after_one_that_the_kernel_killed_for_want_of_memory_halves_the_batch_once(
    quick: Settings, db: Database, store: LocalStore, claimed: Claimed, job_of: JobOf
) -> None:
    claim = claimed(**RECIPE | {"epochs": 3, "batch_size": 32, "learning_rate": 0.08, "max_attempts": 9})

    def goes_on(claim: Claim, died_of: JobFailure) -> tuple[TrainingContext, TrainingState]:
        with db.write() as session:
            jobs.retry_or_fail(session, claim, died_of, NOW)
            again = jobs.claim(session, "worker_a", NOW)
        assert again is not None
        context, state = set_up(quick, db, store, attempt(db, quick, again))
        state = checkpointing.resume(context, state)
        return context, oom_backoff.halve_after_oom_kills(context, state)

    starved, killed = OutOfMemory("no memory was left"), Killed("by somebody")
    second, state = goes_on(claim, starved)
    assert (state.recipe.batch_size, state.recipe.learning_rate) == (16, 0.04)
    assert told(second)[-1] == "out of memory: batch size 16, learning rate 0.04 from here on"
    assert (job_of(claim.job_id).resolved_recipe or {})["batch_size"] == 16
    third, state = goes_on(second.report.claim, killed)  # from the start again, since nothing was kept
    assert state.recipe.batch_size == 16
    stop_after_epochs(third, state, 1)
    fourth, state = goes_on(third.report.claim, killed)
    assert (state.recipe.batch_size, len(state.history)) == (16, 1)
    _, state = goes_on(fourth.report.claim, starved)
    assert (state.recipe.batch_size, len(state.history)) == (8, 1)


def stop_after_epochs(context: TrainingContext, state: TrainingState, count: int) -> None:
    """Train until so many epochs are kept, then die."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "_finish_epoch", dies_after(stages._finish_epoch, count))
        with pytest.raises(KeyboardInterrupt):
            train(context, state)


def dies_after(keep: Callable[..., TrainingState], count: int) -> Callable[..., TrainingState]:
    kept = itertools.count(1)

    def keeps(*given: Any) -> TrainingState:
        state = keep(*given)
        if next(kept) == count:
            raise KeyboardInterrupt
        return state

    return keeps


def test_memory_that_is_too_small_for_any_batch_ends_the_job(
    prepared: Prepared, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, state = prepared(epochs=1, batch_size=4)
    small_memory(monkeypatch, largest=0)
    with pytest.raises(torch.OutOfMemoryError):
        train(context, state)
    assert (job_of(context.report.claim.job_id).resolved_recipe or {})["batch_size"] == 2


def test_an_error_that_is_not_about_memory_is_not_tried_again(
    prepared: Prepared, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, state = prepared(epochs=1)
    monkeypatch.setattr(ScaledOptimizer, "step", lambda *_: (_ for _ in ()).throw(RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken"):
        train(context, state)
    assert (job_of(context.report.claim.job_id).resolved_recipe or {})["batch_size"] == 32


def test_without_a_compiler_the_network_is_trained_as_it_is(
    prepared: Prepared, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, state = prepared(epochs=1, compile=True)
    monkeypatch.setattr("shutil.which", lambda _name: None)
    state = train(context, state)
    assert len(state.history) == 1
    assert any("no compiler is there" in message for message in told(context))
    resolved = job_of(context.report.claim.job_id).resolved_recipe
    assert resolved is not None
    assert resolved["compile"] is False


def test_where_too_few_would_choose_the_weight_decay_no_image_is_held_back(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "MIN_JUDGES", 200)
    head = {"epochs": 1, "freeze": "backbone", "optimizer": "lbfgs"}
    recipes: list[dict[str, Any]] = [head, head | {"validation_fraction": 0.05}, {"epochs": 1}]
    assert [len(prepared(**recipe)[0].splits.validation) for recipe in recipes] == [0, 72, 144]
    context, _ = prepared(**head)
    assert "no image is held back: the weight decay is chosen by cross-validation on so few" in told(context)


def test_a_loss_that_is_no_number_leaves_the_last_good_checkpoint(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, state = prepared(epochs=2)
    save = checkpointing.save

    def then_break(*rest: Any) -> None:
        save(*rest)
        with torch.no_grad():
            next(context.network.parameters()).fill_(float("nan"))

    monkeypatch.setattr(checkpointing, "save", then_break)
    with pytest.raises(LossNotFinite):
        train(context, state)
    with context.db.read() as session:
        (row,) = of_job(session, context.report.claim.job_id)
    kept = read_tensors(context.store, row.key, WEIGHTS)
    assert row.epoch == 1
    assert all(np.isfinite(array).all() for array in kept.values())


def small_memory(monkeypatch: pytest.MonkeyPatch, largest: int) -> None:
    """Make steps with more images fail as on a full GPU.

    The limit is ``largest`` images.
    """

    def allocate(images: Tensor) -> Tensor:
        if len(images) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return channels_last(images)

    monkeypatch.setattr(worker.training.learner, "channels_last", allocate)
