"""Fits core.inference.ood_score: what the training images look like to the network, and from where on to abstain.

No strange image is needed: the threshold lets a small share of the validation images go, and what a detector was taught
with is made up. Sources: core.inference.ood_score, and for a covariance of few images Chen et al. 2010, "Shrinkage
Algorithms
for MMSE Covariance Estimation".
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.inference.network import take_head
from core.inference.ood_score import TINY, Detector, Distance, Familiarity, Texture
from worker.data.splits import Part, Splits, channels_last
from worker.training.conv_matmul import conv_as_matmul

MOST = 3_000  # images of a part that are looked at
LOOK_FLOP = 3e13  # of those of a part, as worker.training.flops counts: 20 s, or less, on two cores
BATCH = 128
AXES = 256  # directions that have a spread of their own: the score shall not make the graph much larger
AXES_WITH_DETECTOR = 64  # with one, 16 to 1,024 found as many strangers, and 256 take a tenth of a single image's time
ABSTAINED = 0.006  # of the validation images; of others it is somewhat more, and shall be below 1 %
NORMAL = 2.512  # standard deviations above the mean in which a normal distribution has that share
ENOUGH = 200  # validation images, to count that share
FEWEST = 10  # to estimate it
WEIGHTS = (2.0, 1.0, 1.0)  # energy, features, texture: what the network answers counts as much as what it saw
METHOD = "energy of the logits + Mahalanobis distances of features and texture"
WEIGHTS_WITH_DETECTOR = (1.0, 1.0, 1.0, 2.0)  # the last is its own; what counts is the length of all four
WITH_DETECTOR = (
    "length of: energy of the logits, Mahalanobis distances of features and texture, detector of made-up images"
)
# Enlarged training images are smooth; every picture that a person sends is sharper, and as good.
WEIGHTS_OF_ENLARGED = (2.0, 1.0, 0.0)
METHOD_OF_ENLARGED = "energy of the logits + Mahalanobis distance of features; the images are enlarged: no texture"


@dataclass(frozen=True)
class Fitted:
    familiarity: Familiarity | None
    record: dict[str, Any]  # for the model's card


@dataclass(frozen=True)
class Seen:
    """What the network makes of some images; on the host."""

    texture: Tensor  # float n x t
    features: Tensor  # float n x d
    logits: Tensor  # float n x classes
    labels: Tensor
    odds: Tensor | None = None  # float n, of the detector


def fit(
    network: nn.Module,
    prepare: nn.Module,
    splits: Splits,
    flop_per_image: float,
    enlarged: bool = False,
    detector: Detector | None = None,
) -> Fitted:
    """Fitted on the training part; its threshold on the validation part. What that costs is known of what serves alone.

    ``enlarged``: the images were smaller before they were made canonical. ``detector``: of
    ``worker.ood.detector_training``.
    """
    if len(splits.validation) < FEWEST:
        return unfitted(f"{len(splits.validation)} validation images are fewer than {FEWEST}")
    network = copy.deepcopy(network).eval()
    head = take_head(network)
    if head is None:
        return unfitted("the network's head is not linear: there are no features")
    most = images_to_look_at(flop_per_image)
    parts = (splits.train, splits.validation)
    train, validation = (look(network, head, prepare, part, most, detector) for part in parts)
    weights = WEIGHTS_OF_ENLARGED if enlarged else WEIGHTS
    return Fitted(
        fit_seen(train, validation, weights, detector and detector.cpu()),
        {
            "method": WITH_DETECTOR if detector else METHOD_OF_ENLARGED if enlarged else METHOD,
            "threshold": 1.0,
            "fitted_on": f"{len(train.labels)} training and {len(validation.labels)} validation images",
        },
    )


def images_to_look_at(flop_per_image: float) -> int:
    """Of a part, at most."""
    return min(MOST, max(ENOUGH, int(LOOK_FLOP / flop_per_image)))


@torch.inference_mode()
def look(
    network: nn.Module, head: nn.Module, prepare: nn.Module, part: Part, most: int, detector: Detector | None = None
) -> Seen:
    """Up to that many images, from all over the part. ``network``: without its head."""
    rows = torch.linspace(0, len(part) - 1, min(most, len(part))).long()
    texture = Texture().to(part.labels.device)
    textures, features, logits, odds = [], [], [], []
    for chosen in torch.split(rows, BATCH):
        images = part.some(chosen.tolist())
        with conv_as_matmul(images.device):
            found = network(channels_last(prepare(images)))
        textures.append(texture(images).cpu())
        features.append(found.float().cpu())
        logits.append(head(found).float().cpu())
        odds += [] if detector is None else [detector(images).cpu()]
    labels = part.labels.cpu()[rows]
    return Seen(torch.cat(textures), torch.cat(features), torch.cat(logits), labels, torch.cat(odds) if odds else None)


@torch.inference_mode()
def fit_seen(
    train: Seen, validation: Seen, weights: tuple[float, float, float] = WEIGHTS, detector: Detector | None = None
) -> Familiarity:
    """Each term is measured in deviations of the validation images, times its weight; all together in thresholds.

    With a detector the weights are its own.
    """
    axes = AXES_WITH_DETECTOR if detector else AXES
    features, texture = (distance(values, train.labels, axes) for values in (train.features, train.texture))
    chosen = torch.tensor(WEIGHTS_WITH_DETECTOR if detector else weights)
    familiarity = Familiarity(features, texture, torch.zeros(len(chosen)), chosen, detector)
    terms = _terms(familiarity, validation)
    familiarity.usual = terms.mean(0)
    familiarity.weights = chosen / terms.std(0).clamp_min(1e-6)
    familiarity.weights /= threshold(familiarity.combine(terms))
    return familiarity.eval()


def threshold(scores: Tensor) -> float:
    """Above which ABSTAINED of such scores lie: counted where there are many; else no less than any of them, and than
    what a normal distribution predicts for the next one (by Student's t, expanded for that many images).
    """
    count = len(scores)
    if count >= ENOUGH:
        return max(scores.quantile(1 - ABSTAINED).item(), TINY)
    student = NORMAL + (NORMAL**3 + NORMAL) / (4 * (count - 1))
    predicted = scores.mean() + student * scores.std() * math.sqrt(1 + 1 / count)
    return max(scores.max().item(), predicted.item(), TINY)


def distance(values: Tensor, labels: Tensor, axes: int = AXES) -> Distance:
    """From the classes' centres, in units of the spread that they share. Float64 inside, float32 in the result.

    ``axes``: directions that have a spread of their own; all others share one.
    """
    values = values.double()
    classes, members = torch.unique(labels, return_inverse=True)
    centres = torch.stack([values[members == number].mean(0) for number in range(len(classes))])
    within = values - centres[members]
    covariance = shrunk(within.T @ within / len(values), len(values))
    spreads, directions = torch.linalg.eigh(covariance)
    spreads = spreads.clamp_min(max(1e-6 * spreads.mean().item(), TINY))
    count = min(axes, len(spreads))
    beside = spreads[:-count] if count < len(spreads) else spreads[:1]
    parts = (values.mean(0), directions[:, -count:], spreads[-count:].sqrt(), beside.mean().sqrt(), centres)
    return Distance(*(part.float().contiguous() for part in parts))


def shrunk(covariance: Tensor, count: int) -> Tensor:
    """Moved towards a multiple of the identity, the more the fewer images it is of (Chen et al., OAS)."""
    size = len(covariance)
    trace, squares = covariance.trace(), covariance.square().sum()
    lost = (count + 1 - 2 / size) * (squares - trace**2 / size)
    share = (((1 - 2 / size) * squares + trace**2) / lost.clamp_min(TINY)).clamp(0, 1)
    return (1 - share) * covariance + share * trace / size * torch.eye(size, dtype=covariance.dtype)


def _terms(familiarity: Familiarity, seen: Seen) -> Tensor:
    energy = -seen.logits.logsumexp(1)
    terms = [energy, familiarity.features(seen.features), familiarity.texture(seen.texture)]
    return torch.stack(terms if seen.odds is None else [*terms, seen.odds], 1)


def abstained(validation: Tensor, test: Tensor, limit: float) -> dict[str, Any]:
    """For the model's card: the shares of those images whose strangeness lies above the limit."""
    validation_share, test_share = (float((scores > limit).double().mean()) for scores in (validation, test))
    return {"validation_abstained": validation_share, "test_abstained": test_share, "test_images": len(test)}


def unfitted(reason: str) -> Fitted:
    """There is no such score, and why."""
    return Fitted(None, {"method": None, "reason": reason})
