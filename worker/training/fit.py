"""fit(): a generator, one result an epoch. Knows no database, store or HTTP."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core.errors import LossNotFinite
from core.recipe import ResolvedRecipe
from worker.data import augmentation
from worker.data.augmentation import Augment
from worker.data.splits import Part, batches, channels_last, steps_per_epoch
from worker.training import mid_epoch
from worker.training.conv_matmul import sooner
from worker.training.cuda_graph import Captured
from worker.training.ema import WeightMean
from worker.training.freezing import train_mode
from worker.training.lr_schedule import learning_rate
from worker.training.mid_epoch import Midway
from worker.training.optimizer import Arrays, Optimization

REPORT_EVERY_S = 0.5
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Interrupted(Exception):
    """Training was asked to stop between two steps. It can go on from the last Midway or Epoch that was given out."""


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
    data_wait_s: float  # of ``seconds``: how long the steps waited for their images
    state: Arrays  # with the weights, all that resuming needs


@dataclass(frozen=True)
class FitOptions:
    """The part of the recipe's epochs to train, what to leave alone, and when to offer a checkpoint."""

    epochs_done: int = 0
    last_epoch: int | None = None  # None: the recipe's
    state: Arrays | None = None  # of the Epoch or Midway that the network's weights come from
    frozen: Sequence[str] = ()  # modules that stay in evaluation mode
    augment: Augment = augmentation.none
    class_weights: Tensor | None = None
    midway_every_s: float = math.inf


@dataclass(frozen=True)
class Callbacks:
    """What fit() calls between two steps; should_stop before every one."""

    on_progress: Callable[[Progress], None] = lambda _progress: None
    on_midway: Callable[[Midway], None] = lambda _midway: None
    should_stop: Callable[[], bool] = lambda: False


ALL_EPOCHS, NO_CALLBACKS = FitOptions(), Callbacks()


def fit(
    network: nn.Module,
    prepare: nn.Module,
    train: Part,
    recipe: ResolvedRecipe,
    device: torch.device,
    options: FitOptions = ALL_EPOCHS,
    callbacks: Callbacks = NO_CALLBACKS,
) -> Iterator[Epoch]:
    """Train epoch by epoch; the order of the data, the rates and chance depend on seed and epoch alone.

    While an Epoch or a Midway is given out, the network holds the weights to use: their running mean where the recipe
    asks for one. Raises Interrupted when ``should_stop`` says so, and LossNotFinite before an epoch with such a loss
    is given out.
    """
    run = Run(network, prepare, recipe, device, options.augment, options.class_weights)
    if options.state:
        run.resume(options.state)
    last = recipe.epochs if options.last_epoch is None else options.last_epoch
    for epoch in range(options.epochs_done, last):
        torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # dropout and the like
        train_mode(network, options.frozen)
        means = _Means(device)
        first = epoch * steps_per_epoch(len(train), recipe.batch_size)
        if options.state and epoch == options.epochs_done and (done := mid_epoch.step_of(options.state)) is not None:
            first = done
            means.go_on(mid_epoch.from_arrays(options.state, device))
        result = _train_epoch(run, train, epoch, first, means, options.midway_every_s, callbacks)
        run.mean.swap()
        yield replace(result, state=run.to_arrays())
        if epoch + 1 < last:
            run.mean.swap()


def _train_epoch(
    run: "Run", train: Part, epoch: int, first: int, means: "_Means", midway_every_s: float, callbacks: Callbacks
) -> Epoch:
    """Train on the epoch's batches from step ``first`` of the whole run."""
    recipe = run.recipe
    per_epoch = steps_per_epoch(len(train), recipe.batch_size)
    steps = per_epoch * recipe.epochs
    waiting = _Waiting(batches(train, recipe.batch_size, recipe.seed, epoch, first - epoch * per_epoch))
    rate, kept_at = 0.0, time.monotonic()
    for step, (images, labels) in enumerate(waiting, start=first):
        stopping = callbacks.should_stop()
        if step > first and (stopping or time.monotonic() - kept_at >= midway_every_s):
            run.give_out(step, means, callbacks.on_midway)
            kept_at = time.monotonic()
        if stopping:
            raise Interrupted
        rate = learning_rate(recipe.schedule, recipe.learning_rate, step, steps, recipe.warmup_fraction)
        means.add(*run.step(step, images, labels, rate), labels)
        if means.due():
            callbacks.on_progress(Progress(epoch + 1, step + 1, steps, *means.read(), rate, means.images_per_s()))
    return means.epoch(epoch + 1, (epoch + 1) * per_epoch, rate, waiting.seconds)


class Run:
    """What every step of a training works with."""

    def __init__(
        self,
        network: nn.Module,
        prepare: nn.Module,
        recipe: ResolvedRecipe,
        device: torch.device,
        augment: Augment,
        class_weights: Tensor | None,
    ) -> None:
        self.optimization = Optimization(network, recipe, device)
        self.mean = WeightMean(network, recipe.ema)
        self._forward = torch.compile(network) if recipe.compile else network
        self._criterion = nn.CrossEntropyLoss(weight=class_weights, label_smoothing=recipe.label_smoothing)
        self._prepare, self._augment = prepare, augment
        self.recipe, self._device = recipe, device
        # what is compiled chooses its own kernels
        self._sooner = nullcontext() if recipe.compile else sooner(device)
        # scaling a loss for fp16 asks the device whether it went well
        graphed = device.type == "cuda" and recipe.precision != "fp16"
        self._train = Captured(self._train_on) if graphed else self._train_on

    def resume(self, state: Arrays) -> None:
        self.optimization.from_arrays(state)
        self.mean.from_arrays(state)
        self.mean.swap()

    def step(self, step: int, images: Tensor, labels: Tensor, rate: float) -> tuple[Tensor, Tensor]:
        """Loss and logits, of the network as it was before; good until the next step."""
        self.optimization.set_rate(rate)
        loss, logits = self._train(images, labels)
        self.mean.update(step + 1)
        return loss, logits

    def _train_on(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        precision = self.recipe.precision
        with self._sooner, torch.autocast(self._device.type, DTYPES[precision], enabled=precision != "fp32"):
            logits = self._forward(channels_last(self._augment(self._prepare(images))))
        loss: Tensor = self._criterion(logits.float(), labels)
        self.optimization.step(loss)
        return loss.detach(), logits.detach()

    def give_out(self, step: int, means: "_Means", on_midway: Callable[[Midway], None]) -> None:
        here = mid_epoch.to_arrays(step, means.sums(), self._device)
        self.mean.swap()
        on_midway(Midway(step, {**self.to_arrays(), **here}))
        self.mean.swap()

    def to_arrays(self) -> Arrays:
        return {**self.optimization.to_arrays(), **self.mean.to_arrays()}


class _Waiting:
    """Batches, and the seconds that the steps have waited for them."""

    def __init__(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        self.seconds = 0.0
        self._batches = batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        started = time.monotonic()
        batch = next(self._batches)
        self.seconds += time.monotonic() - started
        return batch


class _Means:
    """Loss and accuracy of an epoch so far. Sums stay on the device: reading them makes the host wait for it."""

    def __init__(self, device: torch.device) -> None:
        self._loss_sum = torch.zeros((), device=device)
        self._correct = torch.zeros((), device=device)
        self._images = 0
        self._started = self._read_at = time.monotonic()

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self._loss_sum += loss * len(labels)
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

    def epoch(self, number: int, step: int, rate: float, data_wait_s: float) -> Epoch:
        """The epoch that ends now, yet without its state; LossNotFinite as ``read``."""
        loss, accuracy = self.read()
        return Epoch(
            number=number,
            step=step,
            loss=loss,
            accuracy=accuracy,
            learning_rate=rate,
            seconds=self.seconds(),
            images_per_s=self.images_per_s(),
            data_wait_s=data_wait_s,
            state={},
        )

    def sums(self) -> dict[str, float]:
        """What ``go_on`` needs; LossNotFinite as ``read``."""
        self.read()
        return {
            "loss": self._loss_sum.item(),
            "correct": self._correct.item(),
            "images": self._images,
            "seconds": self.seconds(),
        }

    def go_on(self, sums: Mapping[str, float]) -> None:
        self._loss_sum += sums["loss"]
        self._correct += sums["correct"]
        self._images += int(sums["images"])
        self._started -= sums["seconds"]

    def seconds(self) -> float:
        return time.monotonic() - self._started

    def images_per_s(self) -> float:
        return self._images / self.seconds()
