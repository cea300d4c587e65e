"""Gather a model's card and files."""

from dataclasses import dataclass
from typing import Any

from core import ids
from core.artifacts.manifest import from_tensors, to_json
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
from core.inference import training_images
from core.inference.nearest_image import NearestImage
from core.inference.network import to_arrays
from core.inference.ood_score import Scorer
from worker.data.splits import Split
from worker.evaluation.metrics import Answers, finite, score, wilson
from worker.evaluation.report import model_report
from worker.evaluation.temperature_scaling import calibrate
from worker.ood.fitting import SampleOutputs
from worker.publishing.exported_network import ExportedNetwork
from worker.publishing.graph_selection import GraphChoice, Served
from worker.publishing.onnx_metadata import metadata, with_metadata
from worker.publishing.samples import Samples
from worker.publishing.self_test_samples import COUNT, probes
from worker.publishing.trained_network import TrainedNetwork


@dataclass(frozen=True)
class Package:
    """A model, ready to be written."""

    model_id: str
    card: dict[str, Any]  # for its row
    files: dict[str, bytes]

    @property
    def key(self) -> str:
        return f"models/{self.model_id}"


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
