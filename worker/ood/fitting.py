"""Fit the OOD score of a trained network, and its abstention threshold.

No out-of-distribution image is needed: the threshold lets a small share of the validation images go. Sources:
core.inference.ood_score, and for a covariance of few images Chen et al. 2010, "Shrinkage Algorithms for MMSE Covariance
Estimation".
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.inference.nearest_image import NearestImage
from core.inference.network import take_head
from core.inference.ood_score import TINY, Detector, Distance, OodScorer, Scorer, Texture
from worker.data.splits import Split, channels_last, in_order
from worker.training.batched_forward import look

BATCH = 128
AXES = 256  # directions that have a spread of their own: the score shall not make the graph much larger
AXES_WITH_DETECTOR = 64  # with one, 16 to 1,024 found as many outliers, and 256 take a tenth of a single image's time
OVERSAMPLING = 16  # further directions, so that the last of those wanted are right too
ABSTAINED = 0.007  # of the validation images; of others it is somewhat more, and shall be below 1 %
NORMAL = 2.457  # standard deviations above the mean in which a normal distribution has that share
MANY_IMAGES = 200  # validation images, to count that share
MIN_IMAGES = 10  # to estimate it
WEIGHTS = (2.0, 1.0, 1.0)  # energy, features, texture: what the network answers counts as much as what it saw
METHOD = "energy of the logits + Mahalanobis distances of features and texture"
WEIGHTS_WITH_DETECTOR = (2.0, 1.0, 1.5, 2.0)  # the last is the detector's
WITH_DETECTOR = "length of: energy, Mahalanobis distances of features and texture, detector of synthetic outliers"
# Enlarged training images are smooth; every picture that a person sends is sharper, and as good.
WEIGHTS_OF_ENLARGED = (2.0, 1.0, 0.0)
METHOD_OF_ENLARGED = "energy of the logits + Mahalanobis distance of features; the images are enlarged: no texture"


@dataclass(frozen=True)
class SampleOutputs:
    """A network's outputs for a sample of a part."""

    part: Split  # the sample, in memory
    logits: Tensor  # float32, n x classes, on the host
    features: Tensor | None  # float32, n x d, on the host: the head's input; None where the head is not linear

    def __len__(self) -> int:
        return len(self.part)

    def spread(self, count: int) -> "SampleOutputs":
        """Return up to ``count`` of them from evenly spaced places."""
        rows = self.part.places(count)
        features = None if self.features is None else self.features[rows]
        return SampleOutputs(self.part.sample(count), self.logits[rows], features)


@dataclass(frozen=True)
class Fitted:
    """An OOD score, if one was fitted, and its record.

    The record goes into the model's card.
    """

    ood_scorer: Scorer | None
    record: dict[str, Any]
    validation_scores: Tensor | None = None  # n, in thresholds

    def limit_of(self, scores: Tensor) -> float:
        """Return the threshold of an int8 graph.

        ``scores``: those it gives the validation images.
        """
        if isinstance(self.ood_scorer, NearestImage) and self.validation_scores is not None:
            return (scores.sum() / self.validation_scores.sum().clamp_min(TINY)).item()
        return threshold(scores)


@dataclass(frozen=True)
class Seen:
    """Texture, features, logits and detector odds of some images.

    All are on the host.
    """

    texture: Tensor  # float n x t
    features: Tensor  # float n x d
    logits: Tensor  # float n x classes
    labels: Tensor
    odds: Tensor | None = None  # float n, of the detector


@torch.inference_mode()
def look_at_sample(network: nn.Module, prepare: nn.Module, sample: Split, classes: int) -> SampleOutputs:
    """Return logits and features of a sample, in fp32.

    One run of the network gives both.
    """
    body = copy.deepcopy(network).eval()
    head = take_head(body)
    width = classes if head is None else head.in_features
    outputs = [seen for _, seen in look(sample, lambda images: body(channels_last(prepare(images))))]
    found = torch.cat([torch.zeros(0, width, device=sample.labels.device), *outputs])
    if head is None:
        return SampleOutputs(sample, found.cpu(), None)
    return SampleOutputs(sample, head(found).cpu(), found.cpu())


def fit(
    train: SampleOutputs, validation: SampleOutputs, enlarged: bool = False, detector: Detector | None = None
) -> Fitted:
    """Fit the score on training images and its threshold on validation images.

    ``enlarged``: the images were smaller before they were made canonical. ``detector``: already trained.
    """
    count = len(validation)
    if count < MIN_IMAGES:
        return unfitted(f"{count} validation images are fewer than {MIN_IMAGES}")
    if train.features is None or validation.features is None:
        return unfitted("the network's head is not linear: there are no features")
    seen = _seen(train, train.features, detector)
    held_back = _seen(validation, validation.features, detector)
    ood_scorer = fit_seen(seen, held_back, WEIGHTS_OF_ENLARGED if enlarged else WEIGHTS, detector and detector.cpu())
    record = {
        "method": WITH_DETECTOR if detector else METHOD_OF_ENLARGED if enlarged else METHOD,
        "threshold": 1.0,
        "fitted_on": f"{len(seen.labels)} training and {count} validation images",
    }
    with torch.inference_mode():
        return Fitted(ood_scorer, record, ood_scorer.combine(_terms(ood_scorer, held_back)))


@torch.inference_mode()
def _seen(outputs: SampleOutputs, features: Tensor, detector: Detector | None) -> Seen:
    device = outputs.part.labels.device
    texture, textures, odds = Texture().to(device), [], []
    for images, _ in in_order(outputs.part, BATCH):
        textures.append(texture(images).cpu())
        odds += [] if detector is None else [detector(images).cpu()]
    labels = outputs.part.labels.cpu()
    return Seen(torch.cat(textures), features, outputs.logits, labels, torch.cat(odds) if odds else None)


@torch.inference_mode()
def fit_seen(
    train: Seen, validation: Seen, weights: tuple[float, float, float] = WEIGHTS, detector: Detector | None = None
) -> OodScorer:
    """Fit means and weights of the OOD score's terms.

    Each term is measured in standard deviations over the validation images, times its weight; their sum is in units of
    the threshold. With a detector the weights are its own.
    """
    axes = AXES_WITH_DETECTOR if detector else AXES
    features, texture = (distance(values, train.labels, axes) for values in (train.features, train.texture))
    chosen = torch.tensor(WEIGHTS_WITH_DETECTOR if detector else weights)
    ood_scorer = OodScorer(features, texture, torch.zeros(len(chosen)), chosen, detector)
    terms = _terms(ood_scorer, validation)
    ood_scorer.usual = terms.mean(0)
    ood_scorer.weights = chosen / terms.std(0).clamp_min(1e-6)
    ood_scorer.weights /= threshold(ood_scorer.combine(terms))
    return ood_scorer.eval()


def threshold(scores: Tensor) -> float:
    """Find the score above which a share of ABSTAINED lies.

    Many scores are counted. Of few, it is the highest, or what a normal distribution predicts for the next one if that
    is higher (by Student's t, expanded for that many images).
    """
    count = len(scores)
    if count >= MANY_IMAGES:
        return max(scores.quantile(1 - ABSTAINED).item(), TINY)
    student = NORMAL + (NORMAL**3 + NORMAL) / (4 * (count - 1))
    predicted = scores.mean() + student * scores.std() * math.sqrt(1 + 1 / count)
    return max(scores.max().item(), predicted.item(), TINY)


def distance(values: Tensor, labels: Tensor, axes: int = AXES) -> Distance:
    """Fit the Mahalanobis distance to the nearest class centre.

    All classes share one covariance. ``axes`` directions have a spread of their own; all others share one. Float64
    inside, float32 in the result.
    """
    values = values.double()
    classes, members = torch.unique(labels, return_inverse=True)
    centres = torch.stack([values[members == number].mean(0) for number in range(len(classes))])
    within = (values - centres[members]) / math.sqrt(len(values))
    size = values.shape[1]
    count = min(axes, *within.shape)
    directions, spreads = _leading_axes(within, count)
    trace = within.square().sum()
    share = shrinkage(within, len(values))
    mean = trace / size
    rest = (trace - spreads.sum()) / (size - count) if count < size else mean
    spreads, rest = ((1 - share) * spread + share * mean for spread in (spreads, rest))
    least = max(1e-6 * mean.item(), TINY)
    parts = (values.mean(0), directions, spreads.clamp_min(least).sqrt(), rest.clamp_min(least).sqrt(), centres)
    return Distance(*(part.float().contiguous() for part in parts))


def _leading_axes(within: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the directions of the largest variance, and the variances.

    Directions are orthonormal, d x count; by a randomised SVD.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        _, roots, directions = torch.svd_lowrank(within, min(count + OVERSAMPLING, *within.shape), niter=4)
    return directions[:, :count], roots[:count].square()


def shrinkage(within: Tensor, count: int) -> Tensor:
    """Return the share by which a covariance shrinks towards the identity.

    The target is a multiple of the identity: the OAS estimator of Chen et al. 2010.
    """
    size = within.shape[1]
    gram = within @ within.T if len(within) < size else within.T @ within  # the same trace and norm
    trace, squares = gram.trace(), gram.square().sum()
    lost = (count + 1 - 2 / size) * (squares - trace**2 / size)
    return (((1 - 2 / size) * squares + trace**2) / lost.clamp_min(TINY)).clamp(0, 1)


def _terms(ood_scorer: OodScorer, seen: Seen) -> Tensor:
    energy = -seen.logits.logsumexp(1)
    terms = [energy, ood_scorer.features(seen.features), ood_scorer.texture(seen.texture)]
    return torch.stack(terms if seen.odds is None else [*terms, seen.odds], 1)


def unfitted(reason: str) -> Fitted:
    """Record why there is no such score."""
    return Fitted(None, {"method": None, "reason": reason})
