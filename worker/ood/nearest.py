"""Fit the out-of-distribution score of photos: core.inference.nearest_image."""

import torch
from torch import Tensor

from core.inference.nearest_image import TINY, NearestImage, directions, leave_one_out
from worker.ood.fitting import MIN_IMAGES, Fitted, SampleOutputs, unfitted

METHOD = "cosine distance of the features to the nearest training image"
ABSTAINED, CONFIDENCE = 0.05, 0.95  # of the training's like, at most so many are abstained on, so surely


@torch.inference_mode()
def fit(train: SampleOutputs, validation: SampleOutputs, frozen: bool) -> Fitted:
    """Keep the training images' features and set the threshold.

    The threshold comes from distances that are those of new images. ``frozen``: the features are those of a backbone
    that has not seen the training images, so that each of them is a new image for the others. Trained features lie
    closer together for images that they were trained on: the threshold is the validation images' then.
    """
    if train.features is None or validation.features is None:
        return unfitted("the network's head is not linear: there are no features")
    if len(train) < 2:
        return unfitted(f"{len(train)} training image has no other to be compared with")
    if not frozen and len(validation) < MIN_IMAGES:
        return unfitted(f"{len(validation)} validation images are fewer than {MIN_IMAGES}")
    images = directions(train.features)
    scorer = NearestImage(images, torch.ones(()))
    of_validation = scorer.distances(validation.features)
    distances = leave_one_out(images) if frozen else of_validation
    scorer.threshold = limit(distances)
    record = {
        "method": METHOD,
        "threshold": 1.0,
        "distance": scorer.threshold.item(),
        "fitted_on": f"{len(train)} training images, its threshold on {len(distances)} "
        + ("of them, each left out" if frozen else "validation images"),
    }
    return Fitted(scorer.eval(), record, of_validation / scorer.threshold if len(validation) else None)


def limit(distances: Tensor) -> Tensor:
    """Return the distance beyond which the model abstains.

    With 95 % confidence, at most 5 % of the images to come lie beyond it (Wilks 1941). It takes 59 distances to be so
    sure; of fewer it is the largest.
    """
    return distances.sort(descending=True).values[rank(len(distances))].clamp_min(TINY)


def rank(count: int) -> int:
    """Return how many of ``count`` distances may exceed the threshold.

    The more distances, the more. As many that, if a share of ABSTAINED of all images lay beyond the next smaller one,
    so few would be unlikely.
    """
    probability = fewer = (1 - ABSTAINED) ** count  # of none beyond, and of at most ``larger`` of them
    larger = 0
    while fewer <= 1 - CONFIDENCE:
        larger += 1
        probability *= (count - larger + 1) / larger * ABSTAINED / (1 - ABSTAINED)
        fewer += probability
    return max(0, larger - 1)
