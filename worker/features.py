"""Activations of a frozen part, computed once: what is left to train then sees them instead of images."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worker.data import Part, channels_last
from worker.freeze import cut

BATCH = 256


@dataclass(frozen=True)
class Work:
    """What an epoch runs on: a whole network and images, or the rest of one and kept activations."""

    network: nn.Module
    prepare: nn.Module
    train: Part
    validation: Part
    frozen: tuple[str, ...]  # of the network's modules


def keep_activations(work: Work, most_bytes: int) -> Work | None:
    """The same work behind the frozen part. None where that cannot be kept: too large, or more than one tensor.

    Only without augmentation: an image that changes has no activations to keep.
    """
    halves = cut(work.network, work.frozen)
    halves.frozen.eval()
    sample = halves.frozen(channels_last(work.prepare(work.train.images[:1])))
    if len(sample) != 1 or not isinstance(sample[0], Tensor):
        return None
    count = len(work.train) + len(work.validation)
    if sample[0].nbytes * count > most_bytes:
        return None
    train, validation = (
        Part(_activations(halves.frozen, work.prepare, part, sample[0]), part.labels)
        for part in (work.train, work.validation)
    )
    return Work(halves.rest, nn.Identity(), train, validation, frozen=())


@torch.no_grad()
def _activations(frozen: nn.Module, prepare: nn.Module, part: Part, sample: Tensor) -> Tensor:
    kept = sample.new_empty((len(part), *sample.shape[1:]))
    for start, images in _batches(part.images):
        kept[start : start + len(images)] = frozen(channels_last(prepare(images)))[0]
    return kept


def _batches(images: Tensor) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(images), BATCH):
        yield start, images[start : start + BATCH]
