"""Decides every ``auto`` of a recipe, once data set and device are known."""

import math

import torch

from core.recipe import Recipe, ResolvedRecipe
from worker import devices

SMALL = 32  # pixels: at 224 the same digit costs 49 times the arithmetic
PHOTO = 224
EPOCH_IMAGES = 120_000  # a run sees about so many images, within the bounds below
EPOCHS = (2, 6)


def resolve(recipe: Recipe, device: torch.device, train_samples: int, image_side: int) -> ResolvedRecipe:
    """``train_samples`` and ``image_side`` (pixels, the canonical image's longer side) are the data's."""
    batch_size = _batch_size(train_samples) if recipe.batch_size == "auto" else recipe.batch_size
    decided = {
        "image_size": (SMALL if image_side <= SMALL else PHOTO) if recipe.image_size == "auto" else recipe.image_size,
        "epochs": _epochs(train_samples) if recipe.epochs == "auto" else recipe.epochs,
        "batch_size": min(batch_size, train_samples),
        "learning_rate": _learning_rate(recipe, batch_size) if recipe.learning_rate == "auto" else recipe.learning_rate,
        "precision": devices.best_precision(device) if recipe.precision == "auto" else recipe.precision,
        "device": str(device),
    }
    return ResolvedRecipe.model_validate(recipe.model_dump() | decided)


def _batch_size(train_samples: int) -> int:
    """Small sets need the number of steps more than the speed of large batches."""
    return 64 if train_samples < 20_000 else 128


def _epochs(train_samples: int) -> int:
    low, high = EPOCHS
    return max(low, min(high, round(EPOCH_IMAGES / train_samples)))


def _learning_rate(recipe: Recipe, batch_size: int) -> float:
    """Proportional to the batch (Goyal et al. 2017); lower where the weights are worth keeping."""
    scratch = recipe.weights == "random"
    if recipe.optimizer == "sgd":
        return (0.1 if scratch else 0.02) * batch_size / 128
    return (2e-3 if scratch else 3e-4) * math.sqrt(batch_size / 64)
