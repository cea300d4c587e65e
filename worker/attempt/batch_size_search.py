"""The batch size "auto" on an accelerator, found by trying. On a CPU a try costs seconds and brings little."""

import copy
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from core.networks import MIN_BATCH_SIZE
from core.recipe import ResolvedRecipe
from worker.data.augmentation import SETS
from worker.data.splits import Part
from worker.training.ema import RAMP
from worker.training.failure_codes import is_out_of_memory
from worker.training.fit import Run

GAIN = 1.05  # twice the batch must give so many times the images a second
MAX_BATCH_SIZE = 512  # with the rate of smaller ones (core.networks), larger ones learn less for as much work
STEPS_AN_EPOCH = 200  # at least, or too few steps are left to learn in
WARM_UP, TIMED = 6, 6  # steps; a step that is recorded has been so within the warm-up (worker.training.cuda_graph)
SHOWN = 32  # images, over and over: what is on them takes no time


class Tried(NamedTuple):
    batch_size: int
    step_s: float  # seconds of a step of that size; infinite where none fits the memory


def max_batch_size_for(train_samples: int) -> int:
    return min(MAX_BATCH_SIZE, train_samples // STEPS_AN_EPOCH)


def largest_that_helps(seconds_of_step: Callable[[int], float], first: int, most: int) -> Tried:
    """Double ``first`` up to ``most`` as long as it fits the memory and gives more images a second.

    Where ``first`` does not fit, the largest of its halves that does.
    """
    size, seconds = first, _try(seconds_of_step, first)
    while math.isinf(seconds) and size >= 2 * MIN_BATCH_SIZE:
        size = most = size // 2
        seconds = _try(seconds_of_step, size)
    while math.isfinite(seconds) and size * 2 <= most:
        doubled = _try(seconds_of_step, size * 2)
        if 2 * seconds < doubled * GAIN:
            break
        size, seconds = size * 2, doubled
    return Tried(size, seconds)


def time_steps(
    network: nn.Module, prepare: nn.Module, part: Part, recipe: ResolvedRecipe, device: torch.device
) -> Callable[[int], float]:
    """Seconds of a training step at a batch size, on a copy of the network."""
    shown = part.some(range(min(SHOWN, len(part))))
    recipe = recipe.model_copy(update={"compile": False})  # compiling takes longer than all tries

    def seconds_of_step(size: int) -> float:
        run = Run(copy.deepcopy(network), prepare, recipe, device, SETS[recipe.augmentation], None)
        rows = torch.arange(size, device=device) % len(shown)
        images, labels = shown[rows], part.labels[rows]
        started = 0.0
        for step in range(WARM_UP + TIMED):
            if step == WARM_UP:
                started = _now(device)
            run.step(RAMP + step, images, labels, recipe.learning_rate)
        return (_now(device) - started) / TIMED

    return seconds_of_step


def _try(seconds_of_step: Callable[[int], float], size: int) -> float:
    """Infinity where it does not fit the memory."""
    try:
        return seconds_of_step(size)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return math.inf


def _now(device: torch.device) -> float:
    """After all that was asked of the device is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
