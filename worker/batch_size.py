"""The batch size "auto" on an accelerator, found by trying. On a CPU a try costs seconds and brings little."""

import copy
import time
from collections.abc import Callable

import torch
from torch import nn

from core.recipe import ResolvedRecipe
from worker.data import Part, channels_last
from worker.failures import is_out_of_memory
from worker.optimization import Optimization
from worker.train import DTYPES

GAIN = 1.05  # twice the batch must give so many times the images a second
MOST = 1024  # beyond it SGD needs other recipes (Goyal et al. 2017)
STEPS_AN_EPOCH = 100  # at least, or too few steps are left to learn in
WARM_UP, TIMED = 3, 5  # steps
SHOWN = 32  # images, over and over: what is on them takes no time


def most_for(train_samples: int) -> int:
    return min(MOST, train_samples // STEPS_AN_EPOCH)


def largest_that_helps(seconds_of_step: Callable[[int], float], first: int, most: int) -> int:
    """Double ``first`` up to ``most`` as long as it fits the memory and gives more images a second."""
    size, rate = first, first / seconds_of_step(first)
    while size * 2 <= most:
        try:
            doubled = size * 2 / seconds_of_step(size * 2)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            break
        if doubled < rate * GAIN:
            break
        size, rate = size * 2, doubled
    return size


def time_steps(
    network: nn.Module, prepare: nn.Module, part: Part, recipe: ResolvedRecipe, device: torch.device
) -> Callable[[int], float]:
    """Seconds of a training step at a batch size, on a copy of the network."""
    shown = part.some(range(min(SHOWN, len(part))))

    def seconds_of_step(size: int) -> float:
        trial = copy.deepcopy(network)
        optimization = Optimization(trial, recipe, device)
        rows = torch.arange(size, device=device) % len(shown)
        images, labels = shown[rows], part.labels[rows]
        started = 0.0
        for step in range(WARM_UP + TIMED):
            if step == WARM_UP:
                started = _now(device)
            with torch.autocast(device.type, DTYPES[recipe.precision], enabled=recipe.precision != "fp32"):
                logits = trial(channels_last(prepare(images)))
            optimization.step(nn.functional.cross_entropy(logits.float(), labels), recipe.learning_rate)
        return (_now(device) - started) / TIMED

    return seconds_of_step


def _now(device: torch.device) -> float:
    """After all that was asked of the device is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
