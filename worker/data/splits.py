"""A data set split in parts, uint8, on the device where it fits; and the order in which its images are seen."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.data.datasets.dataset import Dataset, Images, Labels
from worker.data.photo_files import Photos
from worker.data.streaming import OnHost, Streamed

MAX_VALIDATION = 5_000  # enough to tell epochs apart to 0.2 points
DEVICE_SHARE = 0.5  # of a GPU's free memory, for the images of one part: the network needs the rest
SAMPLE_BATCH = 128  # images that are fetched at a time
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    images: Tensor | OnHost | Streamed  # uint8, n x height x width x channels; a tensor lies on the device
    labels: Tensor  # int64, n; on the device

    def __len__(self) -> int:
        return len(self.labels)

    def some(self, indices: Sequence[int]) -> Tensor:
        """These few images, uint8 [n, h, w, c], on the device."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return self.images[rows.to(self.labels.device)] if isinstance(self.images, Tensor) else self.images.some(rows)

    def spread(self, count: int) -> Tensor:
        """Up to that many from all over the part, as ``some``: where it is sorted by class, they are of several."""
        return self.some(self._spread(count).tolist())

    def sample(self, count: int) -> "Split":
        """Up to that many images from all over the part, with their labels, in memory."""
        rows = self._spread(count)
        images = [torch.empty(0, *self.images.shape[1:], dtype=torch.uint8, device=self.labels.device)]
        images += [batch for batch, _ in _along(self, rows, SAMPLE_BATCH)]
        return Split(torch.cat(images), self.labels[rows.to(self.labels.device)])

    def _spread(self, count: int) -> Tensor:
        return torch.linspace(0, len(self) - 1, min(count, len(self))).long()


@dataclass(frozen=True)
class Splits:
    train: Split
    validation: Split  # chooses the epoch; may be empty
    test: Split  # looked at once, at the end

    def to(self, device: torch.device) -> "Splits":
        return Splits(*(to_device(part, device) for part in (self.train, self.validation, self.test)))


def split(dataset: Dataset, train_samples: int | None, validation_fraction: float, seed: int) -> Splits:
    """Hold back a validation part, the data set's own or a share of every class, then take a class-balanced subset of
    the rest.

    The same seed, the same images.
    """
    count = len(dataset.train_labels)
    order = np.random.default_rng(seed).permutation(count)
    if dataset.held_back:
        validation = np.arange(count - dataset.held_back, count)
    else:
        wanted = min(round(validation_fraction * count), MAX_VALIDATION)
        validation = _proportional(order, dataset.train_labels, wanted)
    rest = order[~np.isin(order, validation)]
    train = rest if train_samples is None else _balanced(rest, dataset.train_labels, train_samples)
    return Splits(
        train=_part(dataset.train_images, dataset.train_labels, train),
        validation=_part(dataset.train_images, dataset.train_labels, validation),
        test=_part(dataset.test_images, dataset.test_labels, np.arange(len(dataset.test_labels))),
    )


def to_device(part: Split, device: torch.device) -> Split:
    """Its images too, where the device has the memory; else they are brought there a batch at a time."""
    images, labels = part.images, part.labels.to(device)
    if isinstance(images, Tensor) and images.nbytes > _room(device):
        return Split(OnHost(images, device), labels)
    return Split(images.to(device), labels)


def statistics(images: Tensor | OnHost | Streamed) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel, of the values 0..1; a grey image counts as three equal channels.

    The sums are whole numbers, so that they do not depend on whether the images are in memory.
    """
    count, moments = _moments(images)
    first, second = (moments.double() / count).unbind()
    mean = first / 255
    std = (second / 255**2 - mean**2).clamp_min(1e-6).sqrt()
    red, green, blue = mean.expand(3).tolist()
    red_std, green_std, blue_std = std.expand(3).tolist()
    return (red, green, blue), (red_std, green_std, blue_std)


def channels_last(values: Tensor) -> Tensor:
    """Images in the layout in which convolutions are fastest; features as they are."""
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values


def steps_per_epoch(samples: int, batch_size: int) -> int:
    return max(1, samples // batch_size)


def batches(part: Split, batch_size: int, seed: int, epoch: int, skipped: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in an order that depends on seed and epoch alone, so that a resumed run sees what it would have seen:
    all that follows the first ``skipped`` batches.

    What does not fill a last batch is left for another epoch: BatchNorm cannot take a batch of one.
    """
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    return _along(part, order[skipped * batch_size : steps_per_epoch(len(part), batch_size) * batch_size], batch_size)


def in_order(part: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, in the part's own order; the last batch may be smaller."""
    return _along(part, torch.arange(len(part)), batch_size)


def _along(part: Split, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    if not len(order):
        return iter(())
    rows = torch.split(order, batch_size)
    here = torch.split(order.to(part.labels.device), batch_size)  # copied once: each copy waits for the device
    images = part.images
    taken = (images[chosen] for chosen in here) if isinstance(images, Tensor) else images.take(rows)
    return zip(taken, (part.labels[chosen] for chosen in here), strict=True)


def _room(device: torch.device) -> float:
    """Bytes on the device for the images of one part."""
    return DEVICE_SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


def _moments(images: Tensor | OnHost | Streamed) -> tuple[int, Tensor]:
    """How many values each channel has; and int64 [2, channels]: the sums of the values, and of their squares."""
    if isinstance(images, Streamed):
        photos = images.photos
        return len(photos) * photos.shape[1] * photos.shape[2], torch.from_numpy(photos.moments.sum(0))
    values = images.values if isinstance(images, OnHost) else images
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in values.unbind(-1)])
    levels = torch.arange(256)
    return values[..., 0].numel(), torch.stack([counts @ levels, counts @ levels**2])


def _balanced(order: Indices, labels: Labels, count: int) -> Indices:
    """The first ``count`` of ``order``, taken in turn from every class as long as it lasts."""
    ranks, _ = _within_class(labels[order])
    return order[np.sort(np.argsort(ranks, kind="stable")[:count])]


def _proportional(order: Indices, labels: Labels, count: int) -> Indices:
    """The first ``count`` of ``order``, of each class in proportion to its size; yet never the last one of a class, or
    nothing would be left to learn it from.
    """
    ranks, sizes = _within_class(labels[order])
    places = (ranks + 0.5) / sizes  # where among its class: a share of all places is the same share of each class
    others = np.flatnonzero(ranks < sizes - 1)
    return order[np.sort(others[np.argsort(places[others], kind="stable")[:count]])]


def _within_class(labels: Labels) -> tuple[Indices, Indices]:
    """Each image's rank within its class, from 0, and the size of that class."""
    ranks, sizes = np.zeros(len(labels), np.int64), np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = labels == label
        sizes[members] = members.sum()
        ranks[members] = np.arange(members.sum())
    return ranks, sizes


def _part(images: Images | Photos, labels: Labels, chosen: Indices) -> Split:
    kept = images[chosen]
    source = Streamed(kept, torch.device("cpu")) if isinstance(kept, Photos) else torch.from_numpy(kept)
    return Split(source, torch.from_numpy(labels[chosen]))
