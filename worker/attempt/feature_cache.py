"""Activations of a frozen part, computed once: what is left to train then sees them instead of images."""

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

from core.recipe import ResolvedRecipe
from worker.attempt.reporter import Reporter
from worker.attempt.setup import TrainingContext
from worker.data.splits import Part, channels_last
from worker.data.streaming import OnHost
from worker.training.batched_forward import look
from worker.training.fit import Interrupted
from worker.training.freezing import cut

LOG_EVERY_S = 10.0
DISK_SHARE = 0.5  # of what is free: checkpoints need the rest


@dataclass(frozen=True)
class Work:
    """What an epoch runs on: a whole network and images, or the rest of one and kept activations."""

    network: nn.Module
    prepare: nn.Module
    train: Part
    validation: Part
    frozen: tuple[str, ...]  # of the network's modules


@dataclass(frozen=True)
class Disk:
    """Room for activations that do not fit into memory."""

    folder: Path
    max_bytes: int

    def has_room(self, size: int) -> bool:
        return size <= min(self.max_bytes, DISK_SHARE * shutil.disk_usage(self.folder).free)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor mapped from a file without a name: however this process ends, nothing is left of it.

        Raises OSError when the disk is full.
        """
        size = torch.empty(shape, dtype=dtype, device="meta").nbytes
        with tempfile.TemporaryFile(dir=self.folder) as file:
            if sys.platform == "linux":
                os.posix_fallocate(file.fileno(), 0, size)  # found missing later, by a write, it would kill us
            else:
                file.truncate(size)
            return torch.frombuffer(mmap.mmap(file.fileno(), size), dtype=dtype).view(shape)


def keep_activations(
    work: Work,
    max_bytes: int,
    disk: Disk | None = None,
    on_images: Callable[[int, int], None] = lambda _done, _of: None,
) -> Work | None:
    """The same work behind the frozen part: its activations on the device or, beyond ``max_bytes``, on the disk.

    None where they cannot be kept: too large for both, or more than one tensor. Only without augmentation: an image
    that changes has no activations to keep. ``on_images`` hears how many are done, and of how many; it may raise.
    """
    halves = cut(work.network, work.frozen)
    halves.frozen.eval()
    outputs = halves.frozen(channels_last(work.prepare(work.train.some([0]))))
    if len(outputs) != 1 or not isinstance(outputs[0], Tensor):
        return None
    room = _room(outputs[0], len(work.train) + len(work.validation), max_bytes, disk)
    if room is None:
        return None
    first, count = len(work.train), len(room)
    train = _behind(halves.frozen, work.prepare, work.train, room[:first], lambda done: on_images(done, count))
    validation = _behind(
        halves.frozen, work.prepare, work.validation, room[first:], lambda done: on_images(first + done, count)
    )
    return Work(halves.rest, nn.Identity(), train, validation, frozen=())


def _room(sample: Tensor, count: int, max_bytes: int, disk: Disk | None) -> Tensor | None:
    shape, size = (count, *sample.shape[1:]), sample.nbytes * count
    if size <= max_bytes:
        return sample.new_empty(shape)
    return disk.empty(shape, sample.dtype) if disk is not None and disk.has_room(size) else None


@torch.no_grad()
def _behind(frozen: nn.Module, prepare: nn.Module, part: Part, rows: Tensor, on_images: Callable[[int], None]) -> Part:
    """The part with the activations of its images, which ``rows`` has room for."""
    for start, seen in look(part, lambda images: frozen(channels_last(prepare(images)))[0]):
        rows[start : start + len(seen)] = seen
        on_images(start + len(seen))
    device = part.labels.device
    return Part(rows if rows.device == device else OnHost(rows, device), part.labels)


def work_of(context: TrainingContext, recipe: ResolvedRecipe, frozen: tuple[str, ...]) -> Work:
    """The whole network and its images or, where a frozen part allows it, the rest of it on kept activations."""
    splits, report, settings = context.splits, context.report, context.settings
    whole = Work(context.network, context.prepare, splits.train, splits.validation, frozen)
    if not frozen or recipe.augmentation != "none":
        return whole
    disk = Disk(settings.data_dir, settings.feature_disk_bytes)
    kept = keep_activations(whole, settings.feature_cache_bytes, disk, _between_activations(report))
    if kept is None:
        report.log("the activations of the frozen part are too large to keep: it runs for every image")
        return whole
    report.log(f"kept {kept.train.images.nbytes / 2**20:.0f} MiB of activations of the frozen part")
    return kept


def _between_activations(report: Reporter) -> Callable[[int, int], None]:
    """Log now and then how far they are; raise Interrupted when the training has to stop."""
    logged_at = time.monotonic()

    def go_on(done: int, of: int) -> None:
        nonlocal logged_at
        if report.stop.is_set():
            raise Interrupted
        if time.monotonic() - logged_at >= LOG_EVERY_S:
            report.log(f"activations of the frozen part: {done} of {of} images")
            logged_at = time.monotonic()

    return go_on
