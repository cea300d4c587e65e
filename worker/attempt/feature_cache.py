"""Cache the activations of frozen modules, which then run once per image.

What is left to train then sees the activations instead of images.
"""

import mmap
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from core.recipes.recipe import ResolvedRecipe
from worker.attempt.reporter import Reporter
from worker.attempt.setup import TrainingContext, TrainingInput
from worker.data.splits import Split, channels_last
from worker.data.streaming import OnHost
from worker.training.batched_forward import look
from worker.training.fit import Interrupted
from worker.training.freezing import split_network

LOG_EVERY_S = 10.0
DISK_SHARE = 0.5  # of what is free: checkpoints need the rest


@dataclass(frozen=True)
class Disk:
    """The disk space for activations that do not fit into memory."""

    folder: Path
    max_bytes: int

    def has_room(self, size: int) -> bool:
        return size <= min(self.max_bytes, DISK_SHARE * shutil.disk_usage(self.folder).free)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor that is mapped from a nameless file.

        The file goes when the process ends. Raises OSError when the disk is full.
        """
        size = torch.empty(shape, dtype=dtype, device="meta").nbytes
        with tempfile.TemporaryFile(dir=self.folder) as file:
            if sys.platform == "linux":
                os.posix_fallocate(file.fileno(), 0, size)  # else a write on a full disk would kill the process
            else:
                file.truncate(size)
            return torch.frombuffer(mmap.mmap(file.fileno(), size), dtype=dtype).view(shape)


def cache_activations(
    data: TrainingInput,
    max_bytes: int,
    disk: Disk | None = None,
    on_images: Callable[[int, int], None] = lambda _done, _of: None,
) -> TrainingInput | None:
    """Run the frozen modules once and cache their activations.

    Returns the rest of the network with the activations as its data. They lie on the device or, beyond ``max_bytes``,
    on the disk. The result is None if they are too large for both, or more than one tensor. Use it only without
    augmentation, which gives an image other activations in every epoch. ``on_images`` is called with the numbers of
    images done and of all; it may raise.
    """
    halves = split_network(data.network, data.frozen)
    halves.frozen.eval()
    outputs = halves.frozen(channels_last(data.prepare(data.train.some([0]))))
    if len(outputs) != 1 or not isinstance(outputs[0], Tensor):
        return None
    rows = _allocate(outputs[0], len(data.train) + len(data.validation), max_bytes, disk)
    if rows is None:
        return None
    first, count = len(data.train), len(rows)
    train = _fill(halves.frozen, data.prepare, data.train, rows[:first], lambda done: on_images(done, count))
    validation = _fill(
        halves.frozen, data.prepare, data.validation, rows[first:], lambda done: on_images(first + done, count)
    )
    return TrainingInput(halves.rest, nn.Identity(), train, validation, frozen=())


def _allocate(sample: Tensor, count: int, max_bytes: int, disk: Disk | None) -> Tensor | None:
    shape, size = (count, *sample.shape[1:]), sample.nbytes * count
    if size <= max_bytes:
        return sample.new_empty(shape)
    return disk.empty(shape, sample.dtype) if disk is not None and disk.has_room(size) else None


@torch.no_grad()
def _fill(frozen: nn.Module, prepare: nn.Module, part: Split, rows: Tensor, on_images: Callable[[int], None]) -> Split:
    """Write the activations of a split's images into ``rows``.

    Returns a split of them.
    """
    for start, seen in look(part, lambda images: frozen(channels_last(prepare(images)))[0]):
        rows[start : start + len(seen)] = seen
        on_images(start + len(seen))
    device = part.labels.device
    return Split(rows if rows.device == device else OnHost(rows, device), part.labels, part.numbers)


def training_input(context: TrainingContext, recipe: ResolvedRecipe, frozen: tuple[str, ...]) -> TrainingInput:
    """Return what to train: the network, or the part behind frozen modules.

    The whole network gets the images, the part behind frozen modules cached activations.
    """
    splits, report, settings = context.splits, context.report, context.settings
    whole = TrainingInput(context.network, context.prepare, splits.train, splits.validation, frozen)
    if not frozen or recipe.augmentation != "none":
        return whole
    disk = Disk(settings.data_dir, settings.feature_disk_bytes)
    cached = cache_activations(whole, settings.feature_cache_bytes, disk, _log_or_interrupt(report))
    if cached is None:
        report.log("the activations of the frozen part are too large to cache: it runs for every image")
        return whole
    report.log(f"cached {cached.train.images.nbytes / 2**20:.0f} MiB of activations of the frozen part")
    return cached


def _log_or_interrupt(report: Reporter) -> Callable[[int, int], None]:
    """Return a callback that logs progress and raises Interrupted on a stop.

    It logs every LOG_EVERY_S seconds.
    """
    logged_at = time.monotonic()

    def callback(done: int, of: int) -> None:
        nonlocal logged_at
        if report.stop.is_set():
            raise Interrupted
        if time.monotonic() - logged_at >= LOG_EVERY_S:
            report.log(f"activations of the frozen part: {done} of {of} images")
            logged_at = time.monotonic()

    return callback
