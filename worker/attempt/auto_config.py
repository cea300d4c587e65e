"""Decide every ``auto`` of a recipe.

Data set and device are known by then.
"""

import math
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import torch

from core.errors import DatasetInvalid, InvalidRecipe
from core.imaging.preparation import Fit
from core.inference.network import build
from core.networks import MIN_BATCH_SIZE, WEIGHT_DECAY, lookup
from core.recipes.recipe import Recipe, ResolvedRecipe
from worker.attempt.batch_size_search import Trial
from worker.training import devices
from worker.training.flops import flop_per_image
from worker.training.freezing import freeze

# images that a run sees in about a minute, and the fewest and most epochs that it takes for them
IMAGES = {"cpu": (120_000, 2, 6), "cuda": (1_650_000, 6, 30)}
MIN_STEPS, MIN_STEPS_RANDOM, MIN_STEPS_FROZEN = 120, 240, 600  # as far as MAX_EPOCHS reach
MAX_EPOCHS = 60
COMPILE_FROM_S = 180  # of training
PHOTO_EPOCHS = 8  # in fewer, random crops and colours cost more accuracy than they gain; a flip does not
# of a step's cost that is left behind kept activations: below, augmentation would more than double it
AUGMENTED_SHARE = 0.25
# plain data sets that are augmented nevertheless: signs like digits, which must not be mirrored; things like photos
SIGNS, THINGS = ("kmnist", "svhn"), ("fashion_mnist",)
AUTO_FIT: Mapping[str, Fit] = MappingProxyType({"plain": "squash", "photo": "crop"})  # of images that are all square


def resolve(
    recipe: Recipe,
    device: torch.device,
    train_samples: int,
    detail: int,
    style: str,
    trial: Trial | None = None,
    knows_classes: bool = False,
) -> ResolvedRecipe:
    """Replace every ``auto`` of the recipe.

    ``detail`` and ``style`` are the data set's; ``trial`` is the result of a search for the batch size;
    ``knows_classes`` says that the weights' head is one for these classes.
    """
    if train_samples < MIN_BATCH_SIZE:
        raise DatasetInvalid(f"There are {train_samples} images to train on; at least {MIN_BATCH_SIZE} are needed.")
    best = trial.batch_size if trial else _batch_size(train_samples)
    batch_size = best if recipe.batch_size == "auto" else recipe.batch_size
    network, pretrained = lookup.get(recipe.network), recipe.weights != "random"
    enlarged = _keeps_imagenet_layers(recipe) or (device.type != "cpu" and style != "digit")
    side = network.image_size(detail, pretrained, enlarged) if recipe.image_size == "auto" else recipe.image_size
    share = _trained_share(recipe, side)
    epochs = _epochs(recipe, device, train_samples, batch_size, share) if recipe.epochs == "auto" else recipe.epochs
    epochs = 1 if recipe.optimizer == "lbfgs" else epochs
    if recipe.unfreeze_after is not None and recipe.unfreeze_after >= epochs:
        raise InvalidRecipe(f"unfreeze_after: there are {epochs} epochs; {recipe.unfreeze_after} leaves none after it.")
    steps = epochs * train_samples // batch_size
    kind = network.traits.optimizer if recipe.optimizer == "auto" else recipe.optimizer
    fine_tunes = pretrained and (knows_classes or not _trains_new_head_alone(recipe))
    auto = {
        "image_size": side,
        "image_fit": image_fit(recipe, style),
        # L-BFGS chooses both itself, the rate of every step and the decay once (worker.training.head_fit)
        "learning_rate": 1.0 if kind == "lbfgs" else network.learning_rate(kind, fine_tunes, batch_size),
        "weight_decay": 0.0 if kind == "lbfgs" else WEIGHT_DECAY[kind],
        "augmentation": _augmentation(recipe, style, epochs - (recipe.unfreeze_after or 0), share),
        "ema": 0.0 if kind == "lbfgs" else _ema(steps),
        "compile": _compiling_pays(device, trial, steps),
        "precision": devices.best_precision(device),
    }
    requested = recipe.model_dump()
    decided = {name: value for name, value in auto.items() if requested[name] == "auto"}
    fixed = {"epochs": epochs, "batch_size": min(batch_size, train_samples), "optimizer": kind}
    return ResolvedRecipe.model_validate(requested | decided | fixed | {"device": str(device), "devices": 1})


def image_fit(recipe: Recipe, style: str) -> Fit | None:
    """Choose how images of any shape become square.

    Plain ones stay whole, since nothing may be cut off from them. None for digits.
    """
    if style != "digit":
        return AUTO_FIT[style] if recipe.image_fit == "auto" else recipe.image_fit
    if recipe.image_fit != "auto":
        raise InvalidRecipe("image_fit: digits are brought to MNIST's form, whatever their shape; leave it at auto.")
    return None


def _keeps_imagenet_layers(recipe: Recipe) -> bool:
    """Check whether layers that know only ImageNet's photos stay frozen throughout."""
    return recipe.weights == "imagenet" and recipe.freeze != "none" and recipe.unfreeze_after is None


def _trains_new_head_alone(recipe: Recipe) -> bool:
    """Check whether only the new head is trained.

    A low learning rate would only be slow then.
    """
    return (recipe.freeze, recipe.unfreeze_after) == ("backbone", None)


def _compiling_pays(device: torch.device, trial: Trial | None, steps: int) -> bool:
    """Check whether the training takes minutes on a GPU.

    Compiling takes 35 s there and makes ResNet-50 at 224 pixels 1.4 times as fast. On a CPU it takes a minute or more
    and gains 0 to 10 %.
    """
    return trial is not None and COMPILE_FROM_S < steps * trial.step_s < math.inf and devices.can_compile(device)


def _trained_share(recipe: Recipe, image_size: int) -> float:
    """Return a step's relative cost when activations are cached.

    As a share of the whole network's step; 1 if nothing stays frozen. Forward takes a third of a step, also in the
    frozen part, whose activations would have to be computed anew for augmented images.
    """
    if recipe.freeze == "none" or recipe.unfreeze_after is not None:
        return 1.0
    return _share_behind(recipe.freeze, recipe.network, image_size)


@cache  # a recipe is resolved anew once a batch size is found
def _share_behind(frozen: str, name: str, image_size: int) -> float:
    with torch.device("meta"):
        network, sample = build(name, 2, image_size), torch.empty(1, 3, image_size, image_size)
    whole = flop_per_image(network, sample)
    freeze(network, frozen)
    return max(0.0, (3 * flop_per_image(network, sample) / whole - 1) / 2)


def _augmentation(recipe: Recipe, style: str, epochs: int, share: float) -> str:
    """Choose the augmentation for the data set's style and that many epochs.

    Images behind a costly frozen part are not augmented: with its activations kept, many times the epochs take the same
    time. Nor are ``plain`` images: mirrored or cropped, they might show something else.
    """
    if share < AUGMENTED_SHARE:
        return "none"
    if style == "photo" or recipe.dataset in THINGS:
        return "photos" if epochs >= PHOTO_EPOCHS else "flip"
    return "digits" if style == "digit" or recipe.dataset in SIGNS else "none"


def _batch_size(train_samples: int) -> int:
    """Choose the batch size, small for small data sets.

    These need the number of steps more than the speed.
    """
    return 32 if train_samples < 1_000 else 64 if train_samples < 20_000 else 128


def _epochs(recipe: Recipe, device: torch.device, train_samples: int, batch_size: int, share: float) -> int:
    """Choose epochs for about IMAGES images and at least MIN_STEPS steps."""
    images, low, high = IMAGES["cpu" if device.type == "cpu" else "cuda"]
    by_images = max(low, min(high, round(images / train_samples)))
    by_steps = math.ceil(_min_steps(recipe, share) / max(1, train_samples // batch_size))
    return max(by_images, min(MAX_EPOCHS, by_steps)) + (recipe.unfreeze_after or 0)


def _min_steps(recipe: Recipe, share: float) -> int:
    """Return the fewest useful steps.

    They are the more, the less a step behind the frozen part costs.
    """
    least = MIN_STEPS_RANDOM if recipe.weights == "random" else MIN_STEPS
    return round(least / max(share, least / MIN_STEPS_FROZEN))


def _ema(steps: int) -> float:
    """Return the decay of an average over the run's last fortieth."""
    return round(1 - min(1.0, 40 / max(steps, 400)), 6)
