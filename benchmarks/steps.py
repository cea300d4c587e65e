"""Speed of training steps on random images, compared with a plain implementation."""

import torch

from benchmarks.rivals import plain_loop
from benchmarks.timing import Effort, Rate, compare, images_per_second, per_second
from core.imaging.preparation import Preparation
from core.inference.network import Prepare, build
from core.recipes.recipe import ResolvedRecipe
from worker.attempt.batch_size_search import MAX_BATCH_SIZE, find_batch_size, time_steps
from worker.attempt.feature_cache import cache_activations
from worker.attempt.setup import TrainingInput
from worker.data.augmentation import SETS
from worker.data.splits import Split, batches
from worker.training import devices
from worker.training.fit import FitOptions, fit
from worker.training.flops import flop_per_image
from worker.training.freezing import freeze
from worker.training.learner import DTYPES

CPU_BATCH = 64
STEPS = 10  # in an epoch


def step(device: torch.device, side: int, effort: Effort) -> None:
    batch = best_batch(device, side)
    ours, theirs = _our_step(device, side, batch, effort.seconds), plain_loop.step(device, side, batch, effort.seconds)
    compare(f"ResNet-50 training step, {side} px, batch {batch}, images/s", ours, theirs, effort.pairs)


def compiled(device: torch.device, side: int, effort: Effort) -> None:
    """Compare steps with and without torch.compile, after compilation."""
    batch = best_batch(device, side)
    ours, plain = (_our_step(device, side, batch, effort.seconds, compiles) for compiles in (True, False))
    compare(f"ResNet-50 training step, {side} px, batch {batch}, compiled or not, images/s", ours, plain, effort.pairs)


def pipeline(device: torch.device, effort: Effort) -> None:
    ours = _pipeline(device, CPU_BATCH, effort.seconds)
    fed = _our_step(device, 32, CPU_BATCH, effort.seconds)
    compare("input pipeline alone beside the step it feeds, 32 px, images/s", ours, fed, effort.pairs)


def frozen(device: torch.device, effort: Effort) -> None:
    kept, whole = _frozen_epochs(device)
    compare("ResNet-50 behind a frozen backbone, 224 px, kept activations or none, images/s", kept, whole, effort.pairs)


def flops(device: torch.device, side: int, effort: Effort) -> None:
    """Compare training's FLOP/s with a matrix product's.

    Both have the same precision.
    """
    precision, batch = devices.best_precision(device), best_batch(device, side)
    billions = flop_per_image(build("resnet50", 10), torch.empty(2, 3, side, side)) / 1e9
    images = _our_step(device, side, batch, effort.seconds)
    what = f"ResNet-50 training step, {side} px, batch {batch}, beside a matrix product, {precision}, GFLOP/s"
    compare(what, lambda: billions * images(), _matmul(device, DTYPES[precision], effort.seconds), effort.pairs)


def best_batch(device: torch.device, side: int) -> int:
    """Find the batch size like ``batch_size: auto``, for an unlimited data set."""
    if device.type == "cpu":
        return CPU_BATCH
    recipe = _recipe(device, side, CPU_BATCH)
    network, prepare = _network(device), Prepare(_preparation(side)).to(device)
    seconds = time_steps(network, prepare, _digits(device, CPU_BATCH), recipe, device)
    return find_batch_size(seconds, CPU_BATCH, MAX_BATCH_SIZE).batch_size


def _our_step(device: torch.device, side: int, batch: int, seconds: float, compiles: bool = False) -> Rate:
    """Measure fit(), data and augmentation included, in epochs of ten steps."""

    def run() -> float:
        prepare, images = Prepare(_preparation(side)).to(device), _digits(device, STEPS * batch)
        recipe = _recipe(device, side, batch).model_copy(update={"compile": compiles})
        options = FitOptions(augment=SETS[recipe.augmentation])
        epochs = fit(_network(device), prepare, images, recipe, device, options)
        return images_per_second(epochs, STEPS * batch, seconds)

    return run


def _pipeline(device: torch.device, batch: int, seconds: float) -> Rate:
    """Measure selection, preprocessing and augmentation, without the network."""
    part, prepare = _digits(device, 8192), Prepare(_preparation(32)).to(device)

    def epoch() -> float:
        for images, _ in batches(part, batch, seed=0, epoch=0):
            SETS["digits"](prepare(images))
        return len(part)

    return lambda: per_second(epoch, device, seconds)


def _frozen_epochs(device: torch.device) -> tuple[Rate, Rate]:
    """Measure epochs of the head alone on photos.

    One side caches activations, the other runs the full network.
    """
    network = build("resnet50", 10)
    frozen = tuple(freeze(network, "backbone"))
    count = 128
    images = torch.randint(0, 256, (count, 224, 224, 3), dtype=torch.uint8, device=device)
    part = Split(images, torch.randint(0, 10, (count,), device=device))
    photo = Preparation(
        style="photo", height=224, width=224, channels=3, image_size=224, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
    )
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    whole = TrainingInput(network, Prepare(photo).to(device), part, Split(images[:1], part.labels[:1]), frozen)
    kept = cache_activations(whole, 2**32)
    assert kept is not None

    def epochs_of(work: TrainingInput, count_of: int) -> Rate:
        def run() -> float:
            recipe = _recipe(device, 224, 32, "backbone", epochs=count_of)
            options = FitOptions(frozen=work.frozen)
            epochs = list(fit(work.network, work.prepare, work.train, recipe, device, options))
            return epochs[-1].images_per_s

        return run

    return epochs_of(kept, 20), epochs_of(whole, 1)


def _matmul(device: torch.device, dtype: torch.dtype, seconds: float) -> Rate:
    """Measure a large matrix product in billions of operations per second."""
    side = 2048 if device.type == "cpu" else 8192
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def product() -> float:
        torch.mm(one, other)
        return 2 * side**3 / 1e9

    return lambda: per_second(product, device, seconds)


def _network(device: torch.device) -> torch.nn.Module:
    network = build("resnet50", 10)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _digits(device: torch.device, count: int) -> Split:
    images = torch.randint(0, 256, (count, 28, 28, 1), dtype=torch.uint8)
    return Split(images.to(device), torch.randint(0, 10, (count,)).to(device))


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
        ema=0.99,
        freeze=freeze,
        precision=devices.best_precision(device),
        device=str(device),
    )
