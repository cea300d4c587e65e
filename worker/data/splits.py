"""Splits of a data set, their batches and the order of images.

Images are uint8, on the device if they fit there.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.errors import DatasetInvalid
from core.splitting.groups import hold_back
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
    numbers: Tensor | None = None  # int64, n, on the host: of the images within their data set, if it numbers them

    def __len__(self) -> int:
        return len(self.labels)

    def some(self, indices: Sequence[int]) -> Tensor:
        """Return the images at these indices, on the device.

        uint8 [n, h, w, c]; all are in memory at once.
        """
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return self.images[rows.to(self.labels.device)] if isinstance(self.images, Tensor) else self.images.some(rows)

    def spread(self, count: int) -> Tensor:
        """Return up to ``count`` images from evenly spaced places.

        Like ``some``; in a split sorted by class they are of several classes.
        """
        return self.some(self.places(count).tolist())

    def sample(self, count: int) -> "Split":
        """Return evenly spaced images with their labels, in memory.

        Up to ``count`` of them.
        """
        return self._copied(self.places(count))

    def sample_of_classes(self, count: int) -> "Split":
        """Return images with their labels, in memory, in turn from every class.

        Up to ``count`` of them; a rare class is not left out.
        """
        if len(self) <= count:
            return self._copied(torch.arange(len(self)))
        return self._copied(torch.from_numpy(_balanced(np.arange(len(self)), self.labels.cpu().numpy(), count)))

    def _copied(self, rows: Tensor) -> "Split":
        images = [torch.empty(0, *self.images.shape[1:], dtype=torch.uint8, device=self.labels.device)]
        images += [batch for batch, _ in _along(self, rows, SAMPLE_BATCH)]
        numbers = None if self.numbers is None else self.numbers[rows]
        return Split(torch.cat(images), self.labels[rows.to(self.labels.device)], numbers)

    def places(self, count: int) -> Tensor:
        """Return up to ``count`` evenly spaced indices."""
        return torch.linspace(0, len(self) - 1, min(count, len(self))).long()


@dataclass(frozen=True)
class Splits:
    train: Split
    validation: Split  # chooses the epoch; may be empty
    test: Split  # looked at once, at the end

    def to(self, device: torch.device) -> "Splits":
        return Splits(*(to_device(part, device) for part in (self.train, self.validation, self.test)))


def split(dataset: Dataset, train_samples: int | None, validation_fraction: float, seed: int) -> Splits:
    """Split off validation images and choose a class-balanced training subset.

    Validation images are the data set's own, or a share of every class. The same seed gives the same images.
    """
    count = len(dataset.train_labels)
    order = np.random.default_rng(seed).permutation(count)
    if dataset.held_back:
        validation = np.arange(count - dataset.held_back, count)
    else:
        wanted = min(round(validation_fraction * count), MAX_VALIDATION)
        validation = _held_back(dataset, order, wanted, seed)
    rest = order[~np.isin(order, validation)]
    train = rest if train_samples is None else _balanced(rest, dataset.train_labels, train_samples)
    return Splits(
        train=_part(dataset.train_images, dataset.train_labels, train, dataset.train_numbers),
        validation=_part(dataset.train_images, dataset.train_labels, validation),
        test=_part(dataset.test_images, dataset.test_labels, np.arange(len(dataset.test_labels))),
    )


def _held_back(dataset: Dataset, order: Indices, wanted: int, seed: int) -> Indices:
    """Choose validation images; of a data set with groups, whole groups.

    DatasetInvalid if no group can be held back.
    """
    labels, groups = dataset.train_labels, dataset.train_groups
    if groups is None or not wanted:
        return _proportional(order, labels, wanted)
    found = np.flatnonzero(hold_back(labels.tolist(), groups, wanted / len(labels), seed))
    if not len(found):
        raise DatasetInvalid(
            f"{dataset.name}: the groups leave no image for the validation part, since each class has one group left "
            "to train with. Give more groups, a part val, or validation_fraction 0."
        )
    return found


def to_device(part: Split, device: torch.device) -> Split:
    """Move labels to the device, and images if they fit.

    Images that do not fit its memory are copied there a batch at a time.
    """
    images, labels = part.images, part.labels.to(device)
    if isinstance(images, Tensor) and images.nbytes > _room(device):
        return Split(OnHost(images, device), labels, part.numbers)
    return Split(images.to(device), labels, part.numbers)


def statistics(images: Tensor | OnHost | Streamed) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and standard deviation of each channel, of values 0..1.

    A grey image counts as three equal channels. The sums are whole numbers, so that they do not depend on whether the
    images are in memory.
    """
    count, moments = _moments(images)
    first, second = (moments.double() / count).unbind()
    mean = first / 255
    std = (second / 255**2 - mean**2).clamp_min(1e-6).sqrt()
    red, green, blue = mean.expand(3).tolist()
    red_std, green_std, blue_std = std.expand(3).tolist()
    return (red, green, blue), (red_std, green_std, blue_std)


def channels_last(values: Tensor) -> Tensor:
    """Convert images to the channels-last layout, the fastest for convolutions.

    Features, which have fewer dimensions, stay as they are.
    """
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values


def steps_per_epoch(samples: int, batch_size: int) -> int:
    return max(1, samples // batch_size)


def batches(part: Split, batch_size: int, seed: int, epoch: int, skipped: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield an epoch's batches, shuffled by seed and epoch alone.

    So a resumed run sees what it would have seen. The first ``skipped`` batches are left out. A remainder that fills no
    batch is left for another epoch: BatchNorm cannot train on a batch of one.
    """
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    return _along(part, order[skipped * batch_size : steps_per_epoch(len(part), batch_size) * batch_size], batch_size)


def in_order(part: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, in the split's own order.

    The last batch may be smaller.
    """
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
    """Return the bytes on the device for the images of a split."""
    return DEVICE_SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


def _moments(images: Tensor | OnHost | Streamed) -> tuple[int, Tensor]:
    """Return values per channel, and the sums of values and squares.

    The sums are int64 [2, channels].
    """
    if isinstance(images, Streamed):
        photos = images.photos
        return len(photos) * photos.shape[1] * photos.shape[2], torch.from_numpy(photos.moments.sum(0))
    values = images.values if isinstance(images, OnHost) else images
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in values.unbind(-1)])
    levels = torch.arange(256)
    return values[..., 0].numel(), torch.stack([counts @ levels, counts @ levels**2])


def _balanced(order: Indices, labels: Labels, count: int) -> Indices:
    """Choose ``count`` of ``order``, in turn from every class.

    A class that has no more is skipped.
    """
    ranks, _ = _within_class(labels[order])
    return order[np.sort(np.argsort(ranks, kind="stable")[:count])]


def _proportional(order: Indices, labels: Labels, count: int) -> Indices:
    """Choose ``count`` of ``order``, from each class in proportion.

    The last image of a class is never chosen, or nothing would be left to train it with.
    """
    ranks, sizes = _within_class(labels[order])
    places = (ranks + 0.5) / sizes  # where among its class: a share of all places is the same share of each class
    others = np.flatnonzero(ranks < sizes - 1)
    return order[np.sort(others[np.argsort(places[others], kind="stable")[:count]])]


def _within_class(labels: Labels) -> tuple[Indices, Indices]:
    """Return each image's rank within its class, and the class's size.

    Ranks count from 0.
    """
    ranks, sizes = np.zeros(len(labels), np.int64), np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = labels == label
        sizes[members] = members.sum()
        ranks[members] = np.arange(members.sum())
    return ranks, sizes


def _part(images: Images | Photos, labels: Labels, chosen: Indices, numbers: Indices | None = None) -> Split:
    kept = images[chosen]
    source = Streamed(kept, torch.device("cpu")) if isinstance(kept, Photos) else torch.from_numpy(kept)
    named = None if numbers is None else torch.from_numpy(numbers[chosen])
    return Split(source, torch.from_numpy(labels[chosen]), named)
