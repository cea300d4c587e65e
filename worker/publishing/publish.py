"""Publish a trained network as a model.

A straight line of steps, each of which takes frozen values.

Evaluate, fit the OOD score, export, choose the graph that serves, answer the test set, package, one transaction.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from sqlalchemy.orm import Session
from torch import nn

from core import ids
from core.artifacts.manifest import from_tensors, to_json, to_tensors, write_folder
from core.artifacts.model_files import (
    CARD,
    FP32_GRAPH,
    INT8_GRAPH,
    OOD_SCORE,
    REPORT,
    SELF_TEST_SAMPLES,
    TRAINING_IMAGES,
    WEIGHTS,
)
from core.artifacts.store import ArtifactStore
from core.db.tables import Model, Phase
from core.imaging.preparation import Preparation
from core.inference import training_images
from core.inference.nearest_image import NearestImage
from core.inference.network import to_arrays
from core.inference.ood_score import Scorer
from core.recipe import UNTRAINED, ResolvedRecipe
from core.repositories import events, jobs, models
from worker.attempt.reporter import Reporter
from worker.attempt.setup import TrainingInput
from worker.data.splits import Split, Splits
from worker.evaluation.metrics import Answers, finite, score, wilson
from worker.evaluation.report import model_report
from worker.evaluation.temperature_scaling import calibrate
from worker.ood import fitting, nearest
from worker.ood.detector_training import can_train, train_detector
from worker.ood.fitting import Fitted, SampleOutputs, look_at_sample
from worker.publishing import graph_selection
from worker.publishing.graph_selection import GraphChoice, Served
from worker.publishing.onnx_export import PARITY_IMAGES, Exported, check, export, filled
from worker.publishing.onnx_metadata import metadata, with_metadata
from worker.publishing.self_test_samples import COUNT, probes
from worker.training import devices
from worker.training.flops import flop_per_image

log = logging.getLogger(__name__)
MAX_TRAINING_SAMPLE = 1_000  # images that the network looks at; with 3,000 the OOD score found no more
MAX_SAMPLE, MIN_SAMPLE = 3_000, 200  # the same, of any split
SAMPLE_FLOP = 3e13  # for those of a part, as worker.flops counts: 20 s, or less, on two cores
SAMPLE_BYTES = 128 * 2**20  # of those of a part, which are kept in memory
TRAINING_DETECTOR, MAKING_GRAPHS = "training the out-of-distribution detector", "making its graphs"
OOD_SCORE_TOLERANCE = 0.05  # a share of the threshold, or of the score where that is more


@dataclass(frozen=True)
class TrainedNetwork:
    """Everything that a model is made of."""

    network: nn.Module  # with the weights of its best epoch
    prepare: nn.Module
    preparation: Preparation
    splits: Splits
    classes: tuple[str, ...]
    detail: int  # side in pixels of the images before they were made canonical
    recipe: ResolvedRecipe
    device: torch.device
    best: Mapping[str, Any]  # metrics of that epoch
    history: Mapping[str, Any]  # what the card says of the training: checkpointing.describe
    timing: Mapping[str, Any]  # of the training
    kept: TrainingInput | None = None  # the head alone, with the features of all images

    @property
    def is_enlarged(self) -> bool:
        return self.detail < self.preparation.height

    @property
    def has_detector(self) -> bool:
        return can_train(self.splits.train, self.preparation.style, self.is_enlarged)


@dataclass(frozen=True)
class Samples:
    """Outputs of the network for some training and validation images."""

    train: SampleOutputs
    validation: SampleOutputs
    neighbours: SampleOutputs  # training images that answers can be compared with


@dataclass(frozen=True)
class ExportedNetwork:
    """A network's graph in fp32 and its stored weights, which agree."""

    fitted: Fitted
    graph: Exported
    weights: bytes
    weights_difference: float  # between weights and graph, in a probability


@dataclass(frozen=True)
class Package:
    """A model, ready to be written."""

    model_id: str
    card: dict[str, Any]  # for its row
    files: dict[str, bytes]

    @property
    def key(self) -> str:
        return f"models/{self.model_id}"


class Stopwatch:
    """Measures the seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


def publish(trained: TrainedNetwork, report: Reporter, store: ArtifactStore) -> None:
    """Write a model's files, then its row, and end the job.

    Row, aliases and end of the job are one transaction.
    """
    watch = Stopwatch()
    report.phase(Phase.EVALUATING, f"{len(trained.splits.validation)} validation images")
    samples = look_at_samples(trained)
    report.phase(Phase.PUBLISHING, TRAINING_DETECTOR if trained.has_detector else MAKING_GRAPHS)
    with watch.step("ood_s"):
        fitted = fit_ood_score(trained, samples)
    if trained.has_detector:
        report.phase(Phase.PUBLISHING, MAKING_GRAPHS)
    with watch.step("export_s"):
        exported = export_graph(trained, samples, fitted)
    with watch.step("quantize_s"):
        choice = graph_selection.choose(
            exported.graph.onnx, samples.train, samples.validation, exported.fitted.limit_of
        )
    report.log(f"serves in {choice.record['precision']} on a CPU: {choice.record['reason']}")
    with watch.step("test_s"):
        test = answer_test_images(trained, exported, choice)
    with watch.step("package_s"):
        package = pack(trained, samples, exported, choice, test)
        listing = write_folder(store, package.key, package.files, {"id": package.model_id})
    timing = dict(trained.timing) | {
        "evaluate_s": report.seconds_in(Phase.EVALUATING),
        "publish_s": report.seconds_in(Phase.PUBLISHING),
        "publish": watch.seconds,
        "total_s": time.time() - report.started_at,
    }
    end_job(trained.device, package, package.card | {"files": listing, "timing": timing}, report)


def end_job(device: torch.device, package: Package, card: dict[str, Any], report: Reporter) -> None:
    """Write the model's row and end the job, in one transaction.

    While the database is away it is tried again: hours of training are not lost to its restart.
    """
    now = time.time()

    def write(session: Session) -> None:
        if session.get(Model, package.model_id) is not None:
            return  # it was committed, and only the database's answer was lost
        model = models.publish(session, package.model_id, report.claim.job_id, package.key, card, now)
        outcome = "serves" if model.card["publication"]["serving"] else "does not serve"
        message = {"message": f"{model.name}/{model.version} {outcome}: {model.card['publication']['reason']}"}
        events.append(session, report.claim.job_id, "log", message, now, report.claim.attempt)
        jobs.succeed(
            session,
            report.claim,
            package.model_id,
            now,
            metrics=card["metrics"] | {"test": card["test"]},
            timing=card["timing"],
            device=devices.describe(device),
            phases=report.ended_phases(),
            estimated_finish=None,
        )

    report.write(write)
    log.info("published %s: test accuracy %.4f", package.model_id, card["metrics"]["test_accuracy"])


def look_at_samples(trained: TrainedNetwork) -> Samples:
    """Run the network over samples of training and validation images.

    As many as their cost in operations and memory allows.
    """
    image = trained.splits.train.some([0])
    flop = flop_per_image(trained.network, trained.prepare(image))
    most = min(MAX_SAMPLE, max(MIN_SAMPLE, int(min(SAMPLE_FLOP / flop, SAMPLE_BYTES / image.nbytes))))

    kept, splits = trained.kept, trained.splits
    most_of_training = min(most, MAX_TRAINING_SAMPLE)
    train = _look(
        trained,
        splits.train.sample_of_classes(most_of_training),
        kept.train.sample_of_classes(most_of_training) if kept else None,
    )
    validation = _look(trained, splits.validation.sample(most), kept.validation.sample(most) if kept else None)
    return Samples(train, validation, _neighbours(trained, train))


def _look(trained: TrainedNetwork, sample: Split, features: Split | None) -> SampleOutputs:
    """Run the network over a sample of a split.

    With kept features, only the head runs, over those of the sample.
    """
    if trained.kept is None or features is None:
        return look_at_sample(trained.network, trained.prepare, sample, len(trained.classes))
    head = trained.kept
    return replace(look_at_sample(head.network, head.prepare, features, len(trained.classes)), part=sample)


def _neighbours(trained: TrainedNetwork, train: SampleOutputs) -> SampleOutputs:
    """Return training images to compare answers with.

    Where features are kept and small, they are more than the sample: only the head runs for each.
    """
    if trained.kept is None:
        return train
    kept = trained.kept.train
    count = min(training_images.MAX_IMAGES, SAMPLE_BYTES // kept.some([0]).nbytes)
    if count <= len(train) or len(kept) == len(train):
        return train
    head = trained.kept
    return look_at_sample(head.network, head.prepare, kept.sample_of_classes(count), len(trained.classes))


def fit_ood_score(trained: TrainedNetwork, samples: Samples) -> Fitted:
    """Fit the OOD score that suits the images.

    Photos get the distance to their neighbours, others a detector if the images allow one. Behind a frozen backbone
    neighbours also serve where there are too few validation images for anything else.
    """
    frozen = has_frozen_features(trained.recipe)
    if trained.preparation.style == "photo" or (frozen and len(samples.validation) < fitting.MIN_IMAGES):
        return nearest.fit(samples.train, samples.validation, frozen)
    detector = None
    if trained.has_detector:
        recipe = trained.recipe
        detector = train_detector(trained.splits.train, trained.classes, recipe.seed, recipe.precision)
    return fitting.fit(samples.train, samples.validation, trained.is_enlarged, detector)


def has_frozen_features(recipe: ResolvedRecipe) -> bool:
    """Check whether the features were trained on no image of this data.

    They fit training images no better than others then.
    """
    return (recipe.freeze, recipe.unfreeze_after) == ("backbone", None) and recipe.weights in UNTRAINED


def export_graph(trained: TrainedNetwork, samples: Samples, fitted: Fitted) -> ExportedNetwork:
    """Export the network with its OOD score.

    Graph and stored weights are compared with it. The score is left out where the graph's differs too much from the
    network's.
    """
    images = samples.train.part.spread(PARITY_IMAGES)
    graph = export(trained.network, trained.preparation, images, fitted.ood_scorer)
    difference = graph.parity.ood_score or 0.0
    if not difference <= OOD_SCORE_TOLERANCE:  # nan too
        fitted = fitting.unfitted(f"the exported graph differs from the network by {difference:.2g} in it")
        graph = export(trained.network, trained.preparation, images)
    weights = from_tensors(to_arrays(trained.network))
    stored = filled(to_tensors(weights), trained.recipe.network, len(trained.classes), trained.preparation)
    return ExportedNetwork(fitted, graph, weights, check(stored, graph.onnx, samples.train.part.spread(COUNT)))


def answer_test_images(trained: TrainedNetwork, exported: ExportedNetwork, choice: GraphChoice) -> Served:
    """Answer each test image once, with what serves on this device."""
    if trained.device.type == "cpu":
        engine = graph_selection.graph_engine(graph_selection.session(choice.graph))
    else:
        engine = graph_selection.network_engine(trained.preparation, trained.network, exported.fitted.ood_scorer)
    return graph_selection.serve(engine, trained.splits.test)


def pack(
    trained: TrainedNetwork, samples: Samples, exported: ExportedNetwork, choice: GraphChoice, test: Served
) -> Package:
    """Calibrate the probabilities, and gather the model's card and files."""
    held_back = Answers(finite(samples.validation.logits), samples.validation.part.labels.cpu())
    calibration, evaluation = calibrate(held_back, test.answers), score(test.answers)
    model_id = ids.model_id(trained.history["job_id"], trained.history["attempt"])
    card = dict(trained.history) | {
        "id": model_id,
        "name": trained.recipe.model_name,
        "network": trained.recipe.network,
        "best_epoch": trained.best["epoch"],
        "metrics": dict(trained.best) | {"test_loss": evaluation.loss, "test_accuracy": evaluation.accuracy},
        "test": evaluation.counted,
        "timing": dict(trained.timing),
        "confusion_matrix": evaluation.confusion_matrix,
        "per_class": evaluation.per_class(trained.classes),
        "calibration": calibration.summary(),
        "parity": exported.graph.record() | {"weights_largest_difference": exported.weights_difference},
        "serving": choice.record,
        "neighbours": None if samples.train.features is None else _of(samples.neighbours, trained.splits.train),
        "ood": exported.fitted.record | _abstained(trained, exported, choice, test),
    }
    scored, images = exported.fitted.ood_scorer, samples.train.part.spread(COUNT)
    graphs = {FP32_GRAPH: (exported.graph.onnx, 1.0)}
    if choice.is_int8:
        graphs[INT8_GRAPH] = (choice.graph, choice.threshold)
    files = {
        WEIGHTS: exported.weights,
        **{name: with_metadata(graph, metadata(card, limit)) for name, (graph, limit) in graphs.items()},
        **({OOD_SCORE: from_tensors(to_arrays(scored))} if scored else {}),
        **_training_images(samples, scored),
        SELF_TEST_SAMPLES: probes(choice.graph, images, calibration.temperature, choice.threshold),
        REPORT: to_json(model_report(card, calibration, test.answers, trained.splits)),
        CARD: to_json(card),
    }
    return Package(model_id, card, files)


def _of(some: SampleOutputs, of: Split) -> dict[str, int]:
    return {"images": len(some), "of": len(of)}


def _training_images(samples: Samples, scorer: Scorer | None) -> dict[str, bytes]:
    """Make the file of training images to compare answers with."""
    found = samples.neighbours
    if found.features is None:
        return {}
    is_stored = isinstance(scorer, NearestImage) and found is samples.train
    numbers = None if found.part.numbers is None else found.part.numbers.numpy()
    features = None if is_stored else found.features.numpy()
    return {TRAINING_IMAGES: training_images.pack(found.part.labels.cpu().numpy(), numbers, features)}


def _abstained(trained: TrainedNetwork, exported: ExportedNetwork, choice: GraphChoice, test: Served) -> dict[str, Any]:
    """Shares of validation and test images on which the model abstains."""
    limit, validation = 1.0, exported.fitted.validation_scores
    if trained.device.type == "cpu" and choice.is_int8:
        limit, validation = choice.threshold, choice.validation_scores
    if test.ood_scores is None:
        return {}
    images, abstained = len(test.ood_scores), int((test.ood_scores > limit).sum())
    return {
        "validation_abstained": None if validation is None else float((validation > limit).double().mean()),
        "test_abstained": abstained / images,
        "test_abstained_interval": wilson(abstained, images),
        "test_images": images,
    }
