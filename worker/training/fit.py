"""Train a network epoch by epoch.

It knows no database, store or HTTP.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core.errors import LossNotFinite
from core.recipes.recipe import ResolvedRecipe
from worker.data import augmentation
from worker.data.augmentation import Augment
from worker.data.splits import Split, batches, steps_per_epoch
from worker.training.freezing import train_mode
from worker.training.learner import Learner
from worker.training.lr_schedule import learning_rate
from worker.training.mid_epoch import MidEpoch, position_arrays, step_of, sums_of
from worker.training.optimizer import Arrays

REPORT_EVERY_S = 0.5


class Interrupted(Exception):
    """Training stopped on request between two steps.

    It can resume from the last MidEpoch or Epoch.
    """


@dataclass(frozen=True)
class Progress:
    """The position within an epoch, with means over its steps so far."""

    epoch: int  # from 1
    step: int  # of the whole run, from 1
    steps: int  # in the whole run
    loss: float
    accuracy: float
    learning_rate: float
    images_per_s: float


@dataclass(frozen=True)
class Epoch:
    """Result of one epoch, and the state to resume from."""

    number: int  # from 1
    step: int  # steps done in the whole run
    loss: float
    accuracy: float
    learning_rate: float  # of its last step
    seconds: float
    images_per_s: float
    data_wait_s: float  # of ``seconds``: how long the steps waited for their images
    state: Arrays  # besides the weights, all that resuming needs


@dataclass(frozen=True)
class FitOptions:
    """Epochs to train, frozen modules, and the interval of checkpoints."""

    epochs_done: int = 0
    last_epoch: int | None = None  # None: the recipe's
    state: Arrays | None = None  # of the Epoch or MidEpoch that the network's weights come from
    frozen: Sequence[str] = ()  # modules that stay in evaluation mode
    augment: Augment = augmentation.none
    class_weights: Tensor | None = None
    checkpoint_every_s: float = math.inf  # within an epoch


@dataclass(frozen=True)
class Callbacks:
    """Functions that fit() calls between two steps."""

    on_progress: Callable[[Progress], None] = lambda _progress: None  # every REPORT_EVERY_S
    on_mid_epoch: Callable[[MidEpoch], None] = lambda _mid_epoch: None  # every checkpoint_every_s, and at a stop
    should_stop: Callable[[], bool] = lambda: False  # before every step


ALL_EPOCHS, NO_CALLBACKS = FitOptions(), Callbacks()


def fit(
    network: nn.Module,
    prepare: nn.Module,
    train: Split,
    recipe: ResolvedRecipe,
    device: torch.device,
    options: FitOptions = ALL_EPOCHS,
    callbacks: Callbacks = NO_CALLBACKS,
) -> Iterator[Epoch]:
    """Train and yield each epoch.

    Batch order, rates and random numbers depend on seed and step alone. While an Epoch is yielded or a MidEpoch passed
    on, the network holds its EMA weights if the recipe has an EMA. Raises Interrupted when ``should_stop`` says so, and
    LossNotFinite before it yields an epoch with such a loss.
    """
    learner = Learner(network, prepare, recipe, device, options.augment, options.class_weights)
    if options.state:
        learner.resume(options.state)
    last = recipe.epochs if options.last_epoch is None else options.last_epoch
    for epoch in range(options.epochs_done, last):
        train_mode(network, options.frozen)
        result = _train_epoch(learner, train, recipe, epoch, options, callbacks)
        learner.ema.swap()
        yield replace(result, state=learner.to_arrays())
        if epoch + 1 < last:
            learner.ema.swap()


def _train_epoch(
    learner: Learner, train: Split, recipe: ResolvedRecipe, epoch: int, options: FitOptions, callbacks: Callbacks
) -> Epoch:
    """Train on the remaining batches of one epoch.

    The result has no state yet.
    """
    per_epoch = steps_per_epoch(len(train), recipe.batch_size)
    steps, first, means = per_epoch * recipe.epochs, epoch * per_epoch, _EpochMeans(learner.device)
    if options.state and epoch == options.epochs_done and (done := step_of(options.state)) is not None:
        first = done
        means.add_sums(sums_of(options.state))
    waiting = _TimedBatches(batches(train, recipe.batch_size, recipe.seed, epoch, first - epoch * per_epoch))
    rate, saved_at = 0.0, time.monotonic()
    for step, (images, labels) in enumerate(waiting, start=first):
        stopping = callbacks.should_stop()
        if step > first and (stopping or time.monotonic() - saved_at >= options.checkpoint_every_s):
            _offer_checkpoint(learner, step, means, callbacks)
            saved_at = time.monotonic()
        if stopping:
            raise Interrupted
        rate = learning_rate(recipe.schedule, recipe.learning_rate, step, steps, recipe.warmup_fraction)
        torch.manual_seed(recipe.seed * 1_000_003 + step)  # augmentation and dropout, on whatever device
        means.add(*learner.step(step, images, labels, rate), labels)
        if means.due():
            callbacks.on_progress(Progress(epoch + 1, step + 1, steps, *means.read(), rate, means.images_per_s()))
    return means.result(epoch + 1, (epoch + 1) * per_epoch, rate, waiting.seconds)


def _offer_checkpoint(learner: Learner, step: int, means: "_EpochMeans", callbacks: Callbacks) -> None:
    position = position_arrays(step, means.sums())
    learner.ema.swap()
    callbacks.on_mid_epoch(MidEpoch(step, {**learner.to_arrays(), **position}))
    learner.ema.swap()


class _TimedBatches:
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


class _EpochMeans:
    """Running means of loss and accuracy within an epoch.

    The sums stay on the device, since reading them waits for it.
    """

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
        """Return mean loss and accuracy; waits for the device.

        LossNotFinite if the loss is no finite number.
        """
        loss = self._loss_sum.item() / self._images
        if not math.isfinite(loss):
            raise LossNotFinite(f"The loss became {loss} within {self._images} images of this epoch.")
        self._read_at = time.monotonic()
        return loss, self._correct.item() / self._images

    def result(self, number: int, step: int, rate: float, data_wait_s: float) -> Epoch:
        """Return the epoch that ends now, without a state.

        Raises LossNotFinite like ``read``.
        """
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
        """Return what ``add_sums`` needs to continue the epoch.

        Raises LossNotFinite like ``read``.
        """
        self.read()
        return {
            "loss": self._loss_sum.item(),
            "correct": self._correct.item(),
            "images": self._images,
            "seconds": self.seconds(),
        }

    def add_sums(self, sums: Mapping[str, float]) -> None:
        self._loss_sum += sums["loss"]
        self._correct += sums["correct"]
        self._images += int(sums["images"])
        self._started -= sums["seconds"]

    def seconds(self) -> float:
        return time.monotonic() - self._started

    def images_per_s(self) -> float:
        return self._images / self.seconds()
