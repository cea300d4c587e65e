"""The batch size "auto" on an accelerator, found by timing training steps.

On a CPU a trial costs seconds and gains little.
"""

import copy
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from core.networks import MIN_BATCH_SIZE
from core.recipes.recipe import ResolvedRecipe
from worker.data.augmentation import SETS
from worker.data.splits import Split
from worker.training.ema import RAMP
from worker.training.failure_codes import is_out_of_memory
from worker.training.learner import Learner

MIN_GAIN = 1.05  # in images per second, for twice the batch
MAX_BATCH_SIZE = 512  # at the learning rates of core.networks, larger batches learn less from as many images
MIN_STEPS_PER_EPOCH = 200  # or too few steps are left to learn in
WARM_UP, TIMED = 6, 6  # steps; on CUDA a step is recorded within the warm-up (worker.training.cuda_graph)
MAX_IMAGES = 32  # of the split, repeated to fill the batch: what is on them costs no time


class Trial(NamedTuple):
    """A tried batch size, and how long its training step takes."""

    batch_size: int
    step_s: float  # infinite if it does not fit the memory


def max_batch_size(train_samples: int) -> int:
    return min(MAX_BATCH_SIZE, train_samples // MIN_STEPS_PER_EPOCH)


def find_batch_size(step_s: Callable[[int], float], first: int, largest: int) -> Trial:
    """Double the batch size while it fits and trains faster.

    It starts at ``first`` and ends at ``largest`` at most; faster means more images per second. If ``first`` does not
    fit the memory, the result is the largest of its halves that does.
    """
    size, seconds = first, _try(step_s, first)
    while math.isinf(seconds) and size >= 2 * MIN_BATCH_SIZE:
        size = largest = size // 2
        seconds = _try(step_s, size)
    while math.isfinite(seconds) and size * 2 <= largest:
        doubled = _try(step_s, size * 2)
        if 2 * seconds < doubled * MIN_GAIN:
            break
        size, seconds = size * 2, doubled
    return Trial(size, seconds)


def time_steps(
    network: nn.Module, prepare: nn.Module, part: Split, recipe: ResolvedRecipe, device: torch.device
) -> Callable[[int], float]:
    """Return a function that times a training step at a batch size.

    It trains a copy of the network.
    """
    few = part.some(range(min(MAX_IMAGES, len(part))))
    recipe = recipe.model_copy(update={"compile": False})  # compiling takes longer than all trials

    def step_s(size: int) -> float:
        learner = Learner(copy.deepcopy(network), prepare, recipe, device, SETS[recipe.augmentation], None)
        rows = torch.arange(size, device=device) % len(few)
        images, labels = few[rows], part.labels[rows]
        started = 0.0
        for step in range(WARM_UP + TIMED):
            if step == WARM_UP:
                started = _now(device)
            learner.step(RAMP + step, images, labels, recipe.learning_rate)
        return (_now(device) - started) / TIMED

    return step_s


def _try(step_s: Callable[[int], float], size: int) -> float:
    """Time a step; infinity if it does not fit the memory."""
    try:
        return step_s(size)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return math.inf


def _now(device: torch.device) -> float:
    """Return the time at which the device has finished its queue."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
