"""``python -m benchmarks.train``: how fast training is, beside the same work done plainly, in turn on one machine.

Prints rows for benchmarks/README.md. Ratios are medians over pairs of runs; the spread is their minimum and maximum.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torchvision import models

from core.images import Preparation
from core.network import Prepare, build
from core.recipe import ResolvedRecipe
from worker import devices
from worker.augment import SETS
from worker.data import Part, batches
from worker.features import Work, keep_activations
from worker.freeze import freeze
from worker.train import fit

Rate = Callable[[], float]  # images per second of one run


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", default="auto")
    options.add_argument("--pairs", type=int, default=5, help="runs of each side of a comparison")
    options.add_argument("--seconds", type=float, default=5, help="of each run")
    given = options.parse_args()
    device = devices.choose(given.device)
    print(f"{devices.describe(device)['name']}, {torch.get_num_threads()} threads, torch {torch.__version__}, ", end="")
    print(f"precision {devices.best_precision(device)}\n")
    print(f"| what | ours | plain | ratio (median, min-max of {given.pairs}) |")
    print("|---|---|---|---|")
    for side in (32, 64) if device.type == "cpu" else (64, 224):
        batch = 64 if device.type == "cpu" else 1024
        step, plain = _our_step(device, side, batch, given.seconds), _plain_step(device, side, batch, given.seconds)
        _compare(f"ResNet-50 training step, {side} px, batch {batch}, images/s", step, plain, given.pairs)
    pipeline, step = _pipeline(device, 64, given.seconds), _our_step(device, 32, 64, given.seconds)
    _compare("input pipeline alone beside the step it feeds, 32 px, images/s", pipeline, step, given.pairs)
    kept, whole = _frozen_epochs(device)
    _compare("ResNet-50 behind a frozen backbone, 224 px, kept activations or none, images/s", kept, whole, 3)


def _compare(what: str, ours: Rate, plain: Rate, pairs: int) -> None:
    runs = [(ours(), plain()) for _ in range(pairs)]
    ratios = [one / other for one, other in runs]
    one, other = (statistics.median(side) for side in zip(*runs, strict=True))
    print(f"| {what} | {one:,.0f} | {other:,.0f} | {statistics.median(ratios):.2f} ", end="")
    print(f"({min(ratios):.2f}-{max(ratios):.2f}) |", flush=True)


def _digits(device: torch.device, count: int) -> Part:
    images = torch.randint(0, 256, (count, 28, 28, 1), dtype=torch.uint8)
    return Part(images.to(device), torch.randint(0, 10, (count,)).to(device))


def _preparation(side: int) -> Preparation:
    third = (0.3, 0.3, 0.3)
    return Preparation(style="digit", height=28, width=28, channels=1, image_size=side, mean=third, std=third)


def _recipe(device: torch.device, side: int, batch: int, freeze: str = "none", epochs: int = 10_000) -> ResolvedRecipe:
    return ResolvedRecipe(
        image_size=side,
        epochs=epochs,
        batch_size=batch,
        learning_rate=0.01,
        augmentation="digits" if freeze == "none" else "none",
        freeze=freeze,
        precision=devices.best_precision(device),
        device=str(device),
    )


def _our_step(device: torch.device, side: int, batch: int, seconds: float) -> Rate:
    """The real fit(), data and augmentation included: epochs of ten steps until the time is over."""

    def run() -> float:
        network = build("resnet50", 10).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        epochs = fit(
            network,
            Prepare(_preparation(side)).to(device),
            _digits(device, 10 * batch),
            _recipe(device, side, batch),
            device,
            augment=SETS["digits"],
        )
        return _rate_of(epochs, 10 * batch, seconds)

    return run


def _rate_of(epochs: Iterator[object], images: int, seconds: float) -> float:
    next(epochs)  # warm-up
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        next(epochs)
        done += images
    return done / (time.perf_counter() - started)


def _plain_step(device: torch.device, side: int, batch: int, seconds: float) -> Rate:
    """A tutorial's loop on tensors that are there already: fp32, default layout, the loss read at every step."""

    def run() -> float:
        network = models.resnet50(num_classes=10).to(device)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        images = torch.randn(batch, 3, side, side, device=device)
        labels = torch.randint(0, 10, (batch,), device=device)

        def step() -> float:
            optimizer.zero_grad()
            loss: Tensor = nn.functional.cross_entropy(network(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return loss.item()

        step()
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            step()
            done += batch
        return done / (time.perf_counter() - started)

    return run


def _pipeline(device: torch.device, batch: int, seconds: float) -> Rate:
    """Choosing, preparing and augmenting, without the network."""
    part, prepare = _digits(device, 8192), Prepare(_preparation(32)).to(device)

    def run() -> float:
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            for images, _ in batches(part, batch, seed=0, epoch=done):
                SETS["digits"](prepare(images))
                done += batch
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return done / (time.perf_counter() - started)

    return run


def _frozen_epochs(device: torch.device) -> tuple[Rate, Rate]:
    """One epoch of the head alone, on photos; with the activations kept, and with the backbone run for every image."""
    network = build("resnet50", 10)
    frozen = tuple(freeze(network, "backbone"))
    count = 256
    images = torch.randint(0, 256, (count, 224, 224, 3), dtype=torch.uint8, device=device)
    part = Part(images, torch.randint(0, 10, (count,), device=device))
    plain = Preparation(
        style="photo", height=224, width=224, channels=3, image_size=224, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
    )
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    whole = Work(network, Prepare(plain).to(device), part, Part(images[:1], part.labels[:1]), frozen)
    kept = keep_activations(whole, 2**32)
    assert kept is not None

    def epochs_of(work: Work, count_of: int) -> Rate:
        def run() -> float:
            recipe = _recipe(device, 224, 32, "backbone", epochs=count_of)
            epochs = list(fit(work.network, work.prepare, work.train, recipe, device, frozen=work.frozen))
            return epochs[-1].images_per_s

        return run

    return epochs_of(kept, 20), epochs_of(whole, 1)


if __name__ == "__main__":
    main()
