"""Decide every ``auto`` of a recipe, once data set and device are known."""

import math

import torch

from core.errors import DatasetInvalid, InvalidRecipe
from core.networks import MIN_BATCH_SIZE, NETWORKS, WEIGHT_DECAY
from core.recipe import Recipe, ResolvedRecipe
from worker.attempt.batch_size_search import Trial
from worker.training import devices

# images that a run sees in about a minute, and the fewest and most epochs that it takes for them
IMAGES = {"cpu": (120_000, 2, 6), "cuda": (1_650_000, 6, 30)}
MIN_STEPS, MIN_STEPS_RANDOM, MIN_STEPS_FROZEN = 120, 240, 600  # as far as MAX_EPOCHS reach
MAX_EPOCHS = 60
COMPILE_FROM_S = 180  # of training
PHOTO_EPOCHS = 8  # in fewer, random crops and colours cost more accuracy than they gain
# plain data sets that are augmented nevertheless: signs like digits, which must not be mirrored; things like photos
SIGNS, THINGS = ("kmnist", "svhn"), ("fashion_mnist",)


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
    epochs = _epochs(recipe, device, train_samples, batch_size) if recipe.epochs == "auto" else recipe.epochs
    if recipe.unfreeze_after is not None and recipe.unfreeze_after >= epochs:
        raise InvalidRecipe(f"unfreeze_after: there are {epochs} epochs; {recipe.unfreeze_after} leaves none after it.")
    steps = epochs * train_samples // batch_size
    network, pretrained = NETWORKS[recipe.network], recipe.weights != "random"
    optimizer = network.traits.optimizer if recipe.optimizer == "auto" else recipe.optimizer
    fine_tunes = pretrained and (knows_classes or not _trains_new_head_alone(recipe))
    enlarged = _keeps_imagenet_layers(recipe) or (device.type != "cpu" and style != "digit")
    auto = {
        "image_size": network.image_size(detail, pretrained, enlarged),
        "learning_rate": network.learning_rate(optimizer, fine_tunes, batch_size),
        "weight_decay": WEIGHT_DECAY[optimizer],
        "augmentation": _augmentation(recipe, style, epochs),
        "ema": _ema(steps),
        "compile": _compiling_pays(device, trial, steps),
        "precision": devices.best_precision(device),
    }
    asked = recipe.model_dump()
    decided = {name: value for name, value in auto.items() if asked[name] == "auto"}
    fixed = {"epochs": epochs, "batch_size": min(batch_size, train_samples), "optimizer": optimizer}
    return ResolvedRecipe.model_validate(asked | decided | fixed | {"device": str(device), "devices": 1})


def _keeps_imagenet_layers(recipe: Recipe) -> bool:
    """Whether layers that know only ImageNet's photos stay frozen throughout."""
    return recipe.weights == "imagenet" and recipe.freeze != "none" and recipe.unfreeze_after is None


def _trains_new_head_alone(recipe: Recipe) -> bool:
    """Whether no pre-trained layer is trained, so that a low learning rate would only be slow."""
    return (recipe.freeze, recipe.unfreeze_after) == ("backbone", None)


def _compiling_pays(device: torch.device, trial: Trial | None, steps: int) -> bool:
    """Whether the training takes minutes on a GPU.

    Compiling takes 35 s there and makes ResNet-50 at 224 pixels 1.4 times as fast. On a CPU it takes a minute or more
    and gains 0 to 10 %.
    """
    return trial is not None and COMPILE_FROM_S < steps * trial.step_s < math.inf and devices.can_compile(device)


def _augmentation(recipe: Recipe, style: str, epochs: int) -> str:
    """Choose the augmentation for the data set's style.

    Images behind a frozen part are not augmented: with their activations kept, tens of times the epochs take the same
    time. Nor are ``plain`` images: mirrored or cropped, they might show something else.
    """
    if recipe.freeze != "none":
        return "none"
    if style == "photo" or recipe.dataset in THINGS:
        return "photos" if epochs >= PHOTO_EPOCHS else "none"
    return "digits" if style == "digit" or recipe.dataset in SIGNS else "none"


def _batch_size(train_samples: int) -> int:
    """Choose small batches for small data sets, which need the number of steps more than the speed."""
    return 32 if train_samples < 1_000 else 64 if train_samples < 20_000 else 128


def _epochs(recipe: Recipe, device: torch.device, train_samples: int, batch_size: int) -> int:
    """Choose the epochs that show about IMAGES images, but enough of them for MIN_STEPS."""
    images, low, high = IMAGES["cpu" if device.type == "cpu" else "cuda"]
    by_images = max(low, min(high, round(images / train_samples)))
    by_steps = math.ceil(_min_steps(recipe) / max(1, train_samples // batch_size))
    return max(by_images, min(MAX_EPOCHS, by_steps)) + (recipe.unfreeze_after or 0)


def _min_steps(recipe: Recipe) -> int:
    """Return the fewest useful steps; steps behind a frozen part cost next to nothing."""
    if recipe.freeze != "none" and not recipe.unfreeze_after:
        return MIN_STEPS_FROZEN
    return MIN_STEPS_RANDOM if recipe.weights == "random" else MIN_STEPS


def _ema(steps: int) -> float:
    """Return the decay of an average over about the last fortieth of the run."""
    return round(1 - min(1.0, 40 / max(steps, 400)), 6)
