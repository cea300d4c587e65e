"""A data set as tensors on the device: uint8, resident, split; and the order in which they are seen."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.datasets.dataset import Dataset, Labels

VALIDATION_MOST = 5_000  # enough to tell epochs apart to 0.2 points
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    images: Tensor  # uint8, n x height x width x channels
    labels: Tensor  # int64, n

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    train: Part
    validation: Part  # chooses the epoch; may be empty
    test: Part  # looked at once, at the end


def split(dataset: Dataset, train_samples: int | None, validation_fraction: float, seed: int) -> Splits:
    """Hold back a validation part, then take a class-balanced subset of the rest. The same seed, the same images."""
    order = np.random.default_rng(seed).permutation(len(dataset.train_labels))
    wanted = min(round(validation_fraction * len(order)), VALIDATION_MOST)
    validation = _balanced(order, dataset.train_labels, wanted)
    rest = order[~np.isin(order, validation)]
    train = rest if train_samples is None else _balanced(rest, dataset.train_labels, train_samples)
    return Splits(
        train=_part(dataset.train_images, dataset.train_labels, train),
        validation=_part(dataset.train_images, dataset.train_labels, validation),
        test=Part(torch.tensor(dataset.test_images), torch.tensor(dataset.test_labels)),
    )


def to_device(part: Part, device: torch.device) -> Part:
    return Part(part.images.to(device), part.labels.to(device))


def statistics(images: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel, of the values 0..1; a grey image counts as three equal channels."""
    grey_levels = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(-1)])
    share = grey_levels.double() / grey_levels.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ levels
    std = ((share @ levels**2) - mean**2).clamp_min(1e-6).sqrt()
    red, green, blue = mean.expand(3).tolist()
    red_std, green_std, blue_std = std.expand(3).tolist()
    return (red, green, blue), (red_std, green_std, blue_std)


def channels_last(values: Tensor) -> Tensor:
    """Images in the layout in which convolutions are fastest; features as they are."""
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values


def steps_per_epoch(samples: int, batch_size: int) -> int:
    return max(1, samples // batch_size)


def batches(part: Part, batch_size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in an order that depends on seed and epoch alone, so that a resumed run sees what it would have seen.

    What does not fill a last batch is left for another epoch: BatchNorm cannot take a batch of one.
    """
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    order = order.to(part.labels.device)
    for step in range(steps_per_epoch(len(part), batch_size)):
        chosen = order[step * batch_size : (step + 1) * batch_size]
        yield part.images[chosen], part.labels[chosen]


def _balanced(order: Indices, labels: Labels, count: int) -> Indices:
    """The first ``count`` of ``order``, taken in turn from every class as long as it lasts."""
    of_class = labels[order]
    rank = np.zeros(len(order), dtype=np.int64)  # how many of its class come before it
    for label in np.unique(of_class):
        members = of_class == label
        rank[members] = np.arange(members.sum())
    return order[np.sort(np.argsort(rank, kind="stable")[:count])]


def _part(images: npt.NDArray[np.uint8], labels: Labels, chosen: Indices) -> Part:
    return Part(torch.from_numpy(images[chosen]), torch.from_numpy(labels[chosen]))
