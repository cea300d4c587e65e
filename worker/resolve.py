"""Decides every ``auto`` of a recipe, once data set and device are known."""

import math

import torch

from core.errors import DatasetInvalid, InvalidRecipe
from core.recipe import Recipe, ResolvedRecipe
from worker import devices

PHOTO = 224
# detail of the images in pixels, at most -> what the network sees: at 224 a digit costs 49 times the arithmetic of 32
SIZES = ((16, 24), (32, 32))
# what families of networks need at least, by the start of their names; maxvit and vit are built for exactly that
NEEDS = {"convnext": 32, "densenet": 32, "vgg": 32, "alexnet": 64, "inception": 96, "maxvit": PHOTO, "vit": PHOTO}
SMALLEST = 2  # BatchNorm cannot take a batch of one
EPOCH_IMAGES = 120_000  # a run sees about so many images, within the bounds below
EPOCHS = (2, 6)
STEPS, FROZEN_STEPS = 120, 600  # at least, as far as this many epochs reach:
MOST_EPOCHS = 60


def resolve(recipe: Recipe, device: torch.device, train_samples: int, detail: int, style: str) -> ResolvedRecipe:
    """``train_samples`` is what there is to train on; ``detail`` and ``style`` are the data set's."""
    if train_samples < SMALLEST:
        raise DatasetInvalid(f"There are {train_samples} images to train on; at least {SMALLEST} are needed.")
    batch_size = _batch_size(train_samples) if recipe.batch_size == "auto" else recipe.batch_size
    decided = {
        "image_size": _image_size(recipe.network, recipe.image_size, detail),
        "epochs": _epochs(recipe, train_samples, batch_size) if recipe.epochs == "auto" else recipe.epochs,
        "batch_size": min(batch_size, train_samples),
        "learning_rate": _learning_rate(recipe, batch_size) if recipe.learning_rate == "auto" else recipe.learning_rate,
        "augmentation": _augmentation(style, recipe.freeze) if recipe.augmentation == "auto" else recipe.augmentation,
        "precision": devices.best_precision(device) if recipe.precision == "auto" else recipe.precision,
        "device": str(device),
    }
    return ResolvedRecipe.model_validate(recipe.model_dump() | decided)


def _image_size(network: str, wanted: int | str, detail: int) -> int:
    needed = next((size for family, size in NEEDS.items() if network.startswith(family)), 0)
    if wanted == "auto":
        return max(needed, next((size for most, size in SIZES if detail <= most), PHOTO))
    if int(wanted) < needed:
        raise InvalidRecipe(f"image_size: {network} needs at least {needed} pixels, not {wanted}.")
    return int(wanted)


def _augmentation(style: str, freeze: str) -> str:
    """None with a frozen part, since then its activations can be kept: tens of times the epochs in the same time."""
    return "digits" if style == "digit" and freeze == "none" else "none"


def _batch_size(train_samples: int) -> int:
    """Small sets need the number of steps more than the speed of large batches."""
    return 32 if train_samples < 1_000 else 64 if train_samples < 20_000 else 128


def _epochs(recipe: Recipe, train_samples: int, batch_size: int) -> int:
    """By images seen; but a few images still need some steps, and steps behind a frozen part cost next to nothing."""
    low, high = EPOCHS
    by_images = max(low, min(high, round(EPOCH_IMAGES / train_samples)))
    steps = STEPS if recipe.freeze == "none" else FROZEN_STEPS
    return max(by_images, min(MOST_EPOCHS, math.ceil(steps / max(1, train_samples // batch_size))))


def _learning_rate(recipe: Recipe, batch_size: int) -> float:
    """Proportional to the batch (Goyal et al. 2017); lower where the weights are worth keeping."""
    scratch = recipe.weights == "random"
    if recipe.optimizer == "sgd":
        return (0.1 if scratch else 0.02) * batch_size / 128
    return (2e-3 if scratch else 3e-4) * math.sqrt(batch_size / 64)
