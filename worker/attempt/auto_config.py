"""Decides every ``auto`` of a recipe, once data set and device are known."""

import math

import torch

from core.errors import DatasetInvalid, InvalidRecipe
from core.networks import MIN_BATCH_SIZE, NETWORKS, WEIGHT_DECAY
from core.recipe import Recipe, ResolvedRecipe
from worker.attempt.batch_size_search import Tried
from worker.training import devices

# a run sees about so many images, in so many epochs at least and at most; a GPU sees them in a minute
IMAGES = {"cpu": (120_000, 2, 6), "cuda": (1_650_000, 6, 30)}
STEPS, STEPS_FROM_NOTHING, FROZEN_STEPS = 120, 240, 600  # at least, as far as this many epochs reach:
MAX_EPOCHS = 60
COMPILE_FROM_S = 180  # of training
PHOTO_EPOCHS = 8  # before these, other crops and lights of the photos cost more than they teach
# data sets that are plain, and yet are changed: as digits are, since a sign must not be mirrored; or as photos are
SIGNS, THINGS = ("kmnist", "svhn"), ("fashion_mnist",)


def resolve(
    recipe: Recipe,
    device: torch.device,
    train_samples: int,
    detail: int,
    style: str,
    tried: Tried | None = None,
    knows_classes: bool = False,
) -> ResolvedRecipe:
    """``train_samples`` is what there is to train on; ``detail`` and ``style`` are the data set's; ``tried`` is
    the batch size that was found by trying, if one was; ``knows_classes``: the weights' head is one for these classes.
    """
    if train_samples < MIN_BATCH_SIZE:
        raise DatasetInvalid(f"There are {train_samples} images to train on; at least {MIN_BATCH_SIZE} are needed.")
    best = tried.batch_size if tried else _batch_size(train_samples)
    batch_size = best if recipe.batch_size == "auto" else recipe.batch_size
    epochs = _epochs(recipe, device, train_samples, batch_size) if recipe.epochs == "auto" else recipe.epochs
    if recipe.unfreeze_after is not None and recipe.unfreeze_after >= epochs:
        raise InvalidRecipe(f"unfreeze_after: there are {epochs} epochs; {recipe.unfreeze_after} leaves none after it.")
    steps = epochs * train_samples // batch_size
    network, pretrained = NETWORKS[recipe.network], recipe.weights != "random"
    enlarged = _stays_as_imagenet_made_it(recipe) or (device.type != "cpu" and style != "digit")
    side = network.image_size(detail, pretrained, enlarged)
    optimizer = network.traits.optimizer if recipe.optimizer == "auto" else recipe.optimizer
    rate = network.learning_rate(optimizer, pretrained and (knows_classes or not _is_head_alone(recipe)), batch_size)
    decided = {
        "image_size": side if recipe.image_size == "auto" else recipe.image_size,
        "epochs": epochs,
        "batch_size": min(batch_size, train_samples),
        "learning_rate": rate if recipe.learning_rate == "auto" else recipe.learning_rate,
        "optimizer": optimizer,
        "weight_decay": WEIGHT_DECAY[optimizer] if recipe.weight_decay == "auto" else recipe.weight_decay,
        "augmentation": _augmentation(recipe, style, epochs) if recipe.augmentation == "auto" else recipe.augmentation,
        "ema": _ema(steps) if recipe.ema == "auto" else recipe.ema,
        "compile": _compiling_pays(device, tried, steps) if recipe.compile == "auto" else recipe.compile,
        "precision": devices.best_precision(device) if recipe.precision == "auto" else recipe.precision,
        "device": str(device),
        "devices": 1,
    }
    return ResolvedRecipe.model_validate(recipe.model_dump() | decided)


def _stays_as_imagenet_made_it(recipe: Recipe) -> bool:
    return recipe.weights == "imagenet" and recipe.freeze != "none" and recipe.unfreeze_after is None


def _compiling_pays(device: torch.device, tried: Tried | None, steps: int) -> bool:
    """Where the training would take minutes on a GPU. Compiling took 35 s there, and made ResNet-50 at 224 pixels 1.4
    times as fast; on a CPU it takes a minute or more and brings 0 to 10 %.
    """
    return tried is not None and COMPILE_FROM_S < steps * tried.step_s < math.inf and devices.can_compile(device)


def _is_head_alone(recipe: Recipe) -> bool:
    """Whether, with classes that are new to it, nothing worth keeping is trained: low rates would only make it slow."""
    return (recipe.freeze, recipe.unfreeze_after) == ("backbone", None)


def _augmentation(recipe: Recipe, style: str, epochs: int) -> str:
    """None with a frozen part, since then its activations can be kept: tens of times the epochs in the same time.

    None for what is merely ``plain``: mirrored or cut, it might be something else.
    """
    if recipe.freeze != "none":
        return "none"
    if style == "photo" or recipe.dataset in THINGS:
        return "photos" if epochs >= PHOTO_EPOCHS else "none"
    return "digits" if style == "digit" or recipe.dataset in SIGNS else "none"


def _batch_size(train_samples: int) -> int:
    """Small sets need the number of steps more than the speed of large batches."""
    return 32 if train_samples < 1_000 else 64 if train_samples < 20_000 else 128


def _epochs(recipe: Recipe, device: torch.device, train_samples: int, batch_size: int) -> int:
    """By images seen; but a few images still need some steps, and steps behind a frozen part cost next to nothing."""
    images, low, high = IMAGES["cpu" if device.type == "cpu" else "cuda"]
    by_images = max(low, min(high, round(images / train_samples)))
    epochs = max(by_images, min(MAX_EPOCHS, math.ceil(_fewest_steps(recipe) / max(1, train_samples // batch_size))))
    return epochs + (recipe.unfreeze_after or 0)


def _fewest_steps(recipe: Recipe) -> int:
    if recipe.freeze != "none" and not recipe.unfreeze_after:
        return FROZEN_STEPS
    return STEPS_FROM_NOTHING if recipe.weights == "random" else STEPS


def _ema(steps: int) -> float:
    """A mean over about the last fortieth of the run."""
    return round(1 - min(1.0, 40 / max(steps, 400)), 6)
