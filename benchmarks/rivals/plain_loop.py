"""A tutorial's training loop, for comparison.

It has fp32, the default layout, and reads the loss at every step.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

from benchmarks.timing import Rate, per_second
from worker.data.splits import Split
from worker.training.failure_codes import is_out_of_memory

PHOTO = 224
BATCH = 32
Sample = tuple[Tensor, int]


def step(device: torch.device, side: int, batch: int, seconds: float) -> Rate:
    """Measure training steps on ready tensors.

    The batch is halved until it fits into memory.
    """

    def run() -> float:
        images = torch.randn(batch, 3, side, side, device=device)
        labels = torch.randint(0, 10, (batch,), device=device)
        return _train(device, itertools.repeat((images, labels)), seconds)

    def run_what_fits() -> float:
        try:
            return run()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        return step(device, side, batch // 2, seconds)()

    return run_what_fits


def tutorial(part: Split, device: torch.device, seconds: float) -> float:
    """Measure images/s of the whole loop.

    Each picture goes through PIL to 224 pixels, then into the step.
    """
    loader: DataLoader[Sample] = DataLoader(_Pictures(part), BATCH, shuffle=True, num_workers=0, drop_last=True)
    endless = itertools.chain.from_iterable(itertools.repeat(loader))
    return _train(device, ((images.to(device), labels.to(device)) for images, labels in endless), seconds)


def _train(device: torch.device, batches: Iterator[tuple[Tensor, Tensor]], seconds: float) -> float:
    network = models.resnet50(num_classes=10).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def one() -> float:
        images, labels = next(batches)
        optimizer.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
        return len(labels)

    return per_second(one, device, seconds)


class _Pictures(Dataset[Sample]):
    """Grey images as torchvision's data sets return them."""

    def __init__(self, part: Split) -> None:
        assert isinstance(part.images, Tensor)
        self._images, self._labels = part.images.cpu().numpy(), part.labels.tolist()
        self._changes: list[Callable[[Any], Any]] = [
            transforms.Grayscale(3),  # type: ignore[no-untyped-call]
            transforms.Resize(PHOTO),  # type: ignore[no-untyped-call]
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),  # type: ignore[no-untyped-call]
        ]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Sample:
        picture: Any = Image.fromarray(self._images[index, :, :, 0])
        for change in self._changes:
            picture = change(picture)
        return picture, self._labels[index]
