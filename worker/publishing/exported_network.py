"""Fit the OOD score and export the graph, and compare them with the network."""

from dataclasses import dataclass

from core.artifacts.manifest import from_tensors, to_tensors
from core.inference.network import to_arrays
from core.recipes.recipe import UNTRAINED, ResolvedRecipe
from worker.ood import fitting, nearest
from worker.ood.detector_training import train_detector
from worker.ood.fitting import Fitted
from worker.publishing.onnx_export import PARITY_IMAGES, Exported, check, export, filled
from worker.publishing.samples import Samples
from worker.publishing.trained_network import TrainedNetwork

OOD_SCORE_TOLERANCE = 0.05  # a share of the threshold, or of the score where that is more


@dataclass(frozen=True)
class ExportedNetwork:
    """A network's graph in fp32 and its stored weights, which agree."""

    fitted: Fitted
    graph: Exported
    weights: bytes
    weights_difference: float  # between weights and graph, in a probability


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
    return ExportedNetwork(fitted, graph, weights, check(stored, graph.onnx, images))
