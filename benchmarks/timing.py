"""Timing helpers: alternating runs, synchronised with the device, without warm-up."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from worker.training.fit import Epoch

Rate = Callable[[], float]  # of one run: images, or operations, per second


@dataclass(frozen=True)
class Effort:
    """The length and the number of measurements."""

    pairs: int  # runs of each side of a comparison
    seconds: float  # of each run


def now(device: torch.device) -> float:
    """Return the clock in seconds, after the device's queued work.

    It waits for that work.
    """
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def per_second(work: Callable[[], float], device: torch.device, seconds: float) -> float:
    """Measure the sum of ``work``'s results per second over ``seconds``.

    Its first run is the warm-up.
    """
    work()
    started, done = now(device), 0.0
    while time.perf_counter() - started < seconds:
        done += work()
        now(device)  # a queue on the device would outlast the clock
    return done / (now(device) - started)


def images_per_second(epochs: Iterator[Epoch], images: int, seconds: float) -> float:
    """Measure images/s over some seconds of training, by fit()'s own clock.

    ``images``: per epoch; the first epoch is the warm-up.
    """
    next(epochs)
    spent, done = 0.0, 0
    while spent < seconds:
        spent += next(epochs).seconds
        done += images
    return done / spent


def compare(what: str, ours: Rate, plain: Rate, pairs: int) -> None:
    """Print a row that compares two rates over pairs of runs.

    It has the medians of both sides, and the median, minimum and maximum of the ratios.
    """
    runs = [(ours(), plain()) for _ in range(pairs)]
    ratios = [one / other for one, other in runs]
    one, other = (statistics.median(side) for side in zip(*runs, strict=True))
    print(f"| {what} | {one:,.0f} | {other:,.0f} | {statistics.median(ratios):.2f} ", end="")
    print(f"({min(ratios):.2f}-{max(ratios):.2f}) |", flush=True)
