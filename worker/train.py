"""fit(): a generator, one result an epoch. Knows no database, store or HTTP."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from core.errors import LossNotFinite
from core.recipe import ResolvedRecipe
from worker import augment as augmentation
from worker.augment import Augment
from worker.data import Part, batches, channels_last, steps_per_epoch
from worker.freeze import train_mode
from worker.schedule import learning_rate, parameter_groups

Arrays = Mapping[str, npt.NDArray[Any]]
REPORT_EVERY_S = 0.5
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Interrupted(Exception):
    """Training was asked to stop between two steps."""


@dataclass(frozen=True)
class Progress:
    """How far an epoch has come; the means are over its steps so far."""

    epoch: int  # from 1
    step: int  # of the whole run, from 1
    steps: int  # in the whole run
    loss: float
    accuracy: float
    learning_rate: float
    images_per_s: float


@dataclass(frozen=True)
class Epoch:
    number: int  # from 1
    step: int  # steps done in the whole run
    loss: float
    accuracy: float
    learning_rate: float  # of its last step
    seconds: float
    images_per_s: float
    optimizer: Arrays  # with the weights, all that resuming needs


class Optimization:
    """Optimizer and loss scaling: what changes with every step besides the network."""

    def __init__(self, network: nn.Module, recipe: ResolvedRecipe, device: torch.device) -> None:
        self.optimizer = _optimizer(network, recipe)
        self.scaler = GradScaler(device.type, enabled=recipe.precision == "fp16")

    def step(self, loss: Tensor, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def to_arrays(self) -> Arrays:
        """Every tensor of the state as ``<parameter's index>.<name>``."""
        state = self.optimizer.state_dict()["state"]
        arrays = {
            f"{index}.{name}": np.asarray(tensor.detach().cpu() if isinstance(tensor, Tensor) else tensor)
            for index, tensors in state.items()
            for name, tensor in tensors.items()
            if tensor is not None
        }
        return arrays | {f"scaler.{name}": np.asarray(value) for name, value in self.scaler.state_dict().items()}

    def from_arrays(self, arrays: Arrays) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        scaling: dict[str, Any] = {}
        for key, array in arrays.items():
            owner, name = key.split(".", 1)
            if owner == "scaler":
                scaling[name] = array.item()
            else:
                state.setdefault(int(owner), {})[name] = torch.from_numpy(np.array(array))
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        for parameter, tensors in self.optimizer.state.items():
            for name, tensor in tensors.items():
                if isinstance(tensor, Tensor) and tensor.shape == parameter.shape:
                    # the fused kernels walk memory: in another layout they would pair the wrong elements
                    tensors[name] = torch.empty_like(parameter).copy_(tensor)
        if scaling:
            self.scaler.load_state_dict(scaling)


def fit(
    network: nn.Module,
    prepare: nn.Module,
    train: Part,
    recipe: ResolvedRecipe,
    device: torch.device,
    *,
    epochs_done: int = 0,
    optimizer: Arrays | None = None,
    augment: Augment = augmentation.none,
    frozen: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Epoch]:
    """Train from epoch ``epochs_done`` on. Data order, rates and chance depend on seed and epoch alone.

    Raises Interrupted when ``should_stop`` says so, and LossNotFinite before an epoch with such a loss is given out.
    """
    optimization = Optimization(network, recipe, device)
    if optimizer:
        optimization.from_arrays(optimizer)
    per_epoch = steps_per_epoch(len(train), recipe.batch_size)
    steps = per_epoch * recipe.epochs
    for epoch in range(epochs_done, recipe.epochs):
        torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # dropout and the like
        train_mode(network, frozen)
        means = _Means(device)
        rate = 0.0
        for index, (images, labels) in enumerate(batches(train, recipe.batch_size, recipe.seed, epoch)):
            if should_stop():
                raise Interrupted
            step = epoch * per_epoch + index
            rate = learning_rate(recipe.schedule, recipe.learning_rate, step, steps, recipe.warmup_fraction)
            with torch.autocast(device.type, DTYPES[recipe.precision], enabled=recipe.precision != "fp32"):
                logits = network(channels_last(augment(prepare(images))))
            loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
            optimization.step(loss, rate)
            means.add(loss, logits, labels)
            if means.due():
                mean_loss, accuracy = means.read()
                on_progress(Progress(epoch + 1, step + 1, steps, mean_loss, accuracy, rate, means.images_per_s()))
        mean_loss, accuracy = means.read()
        yield Epoch(
            number=epoch + 1,
            step=(epoch + 1) * per_epoch,
            loss=mean_loss,
            accuracy=accuracy,
            learning_rate=rate,
            seconds=means.seconds(),
            images_per_s=means.images_per_s(),
            optimizer=optimization.to_arrays(),
        )


class _Means:
    """Loss and accuracy of an epoch so far. Sums stay on the device: reading them makes the host wait for it."""

    def __init__(self, device: torch.device) -> None:
        self._loss_sum = torch.zeros((), device=device)
        self._correct = torch.zeros((), device=device)
        self._images = 0
        self._started = self._read_at = time.monotonic()

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self._loss_sum += loss.detach() * len(labels)
        self._correct += (logits.argmax(1) == labels).sum()
        self._images += len(labels)

    def due(self) -> bool:
        return time.monotonic() - self._read_at >= REPORT_EVERY_S

    def read(self) -> tuple[float, float]:
        """Mean loss and accuracy; LossNotFinite if there is no such number. The host waits for the device here."""
        loss = self._loss_sum.item() / self._images
        if not math.isfinite(loss):
            raise LossNotFinite(f"The loss became {loss} within {self._images} images of this epoch.")
        self._read_at = time.monotonic()
        return loss, self._correct.item() / self._images

    def seconds(self) -> float:
        return time.monotonic() - self._started

    def images_per_s(self) -> float:
        return self._images / self.seconds()


def _optimizer(network: nn.Module, recipe: ResolvedRecipe) -> torch.optim.Optimizer:
    groups = parameter_groups(network, recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True
        )
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=recipe.learning_rate, fused=True)
