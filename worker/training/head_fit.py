"""Fit what follows kept activations by L-BFGS.

All images at once, with a weight decay of its own choice. For a linear head this is multinomial logistic regression:
one minimum, reached in some tens of passes.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worker.data.splits import Split, in_order
from worker.training.fit import Epoch, Interrupted
from worker.training.loss import cross_entropy

DECAYS = (1.0, 0.1, 0.03, 0.01, 0.003, 0.001)  # of which one is chosen, from the strongest on
ITERATIONS, SEARCH_ITERATIONS = 100, 15
MIN_JUDGES = 50  # validation images that choose alone; with fewer, the training images do by cross-validation
MAX_SEARCH, FOLDS = 2_000, 4  # training images of that cross-validation, and its parts
SMALL_BYTES = 32 * 2**20  # of inputs
PASS_BATCH = 4_096  # images of a pass that are in the arithmetic at a time


@dataclass(frozen=True)
class Objective:
    """The loss of the training images, without its weight decay."""

    class_weights: Tensor | None = None
    smoothing: float = 0.0
    should_stop: Callable[[], bool] = lambda: False  # looked at before every pass


@dataclass(frozen=True)
class FittedHead:
    """The weight decay used, and the fit of the training images."""

    weight_decay: float
    epoch: Epoch


def fit_head(
    network: nn.Module, train: Split, validation: Split, objective: Objective, weight_decay: float | None
) -> FittedHead:
    """Fit the network's unfrozen weights, starting from the present ones.

    ``weight_decay`` None: choose it. Raises Interrupted when ``should_stop`` says so.
    """
    started = time.monotonic()
    network.eval()  # no dropout: every pass sees the same
    with _one_thread_if_small(train):
        decay = _choose(network, train, validation, objective) if weight_decay is None else weight_decay
        passes = _minimise(network, train, objective, decay, ITERATIONS)
        loss, right = _judge(network, train)
    seconds = time.monotonic() - started
    epoch = Epoch(
        number=1,
        step=1,
        loss=loss,
        accuracy=right,
        learning_rate=1.0,
        seconds=seconds,
        images_per_s=passes * len(train) / seconds,
        data_wait_s=0.0,
        state={},
    )
    return FittedHead(decay, epoch)


def _choose(network: nn.Module, train: Split, validation: Split, objective: Objective) -> float:
    """Choose the weight decay with the lowest loss on held-out images.

    Of equals the stronger one.
    """
    parts = [(train, validation)] if len(validation) >= MIN_JUDGES else [*_folds(train.sample(MAX_SEARCH))]
    losses = torch.zeros(len(DECAYS), dtype=torch.float64)
    first = [parameter.detach().clone() for parameter in _trained(network)]
    for fitted, judges in parts:
        for place, decay in enumerate(DECAYS):
            _minimise(network, fitted, objective, decay, SEARCH_ITERATIONS)
            losses[place] += _judge(network, judges)[0] * len(judges)
        _restore(network, first)
    return DECAYS[int(losses.argmin())]


def _folds(train: Split) -> Iterator[tuple[Split, Split]]:
    """Split the images in FOLDS ways, each class evenly."""
    order = train.labels.argsort(stable=True)
    folds = torch.arange(len(order), device=order.device) % FOLDS
    for fold in range(min(FOLDS, len(order))):
        yield _rows(train, order[folds != fold]), _rows(train, order[folds == fold])


def _rows(part: Split, rows: Tensor) -> Split:
    return Split(part.some(rows.tolist()), part.labels[rows])


def _minimise(network: nn.Module, part: Split, objective: Objective, decay: float, iterations: int) -> int:
    """Minimise loss and decay; returns the number of passes over the part."""
    trained, passes = _trained(network), 0
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    whole = _weight(part.labels, objective.class_weights)
    optimizer = torch.optim.LBFGS(trained, max_iter=iterations, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

    def closure() -> float:
        nonlocal passes
        if objective.should_stop():
            raise Interrupted
        passes += 1
        optimizer.zero_grad()
        total = 0.0
        for inputs, labels in _batches(part):
            loss = cross_entropy(network(inputs).float(), labels, objective.class_weights, objective.smoothing)
            penalty = torch.stack([matrix.square().sum() for matrix in matrices]).sum() * (decay / 2)
            loss = (loss + penalty) * (_weight(labels, objective.class_weights) / whole)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return passes


def _batches(part: Split) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut a split in batches of PASS_BATCH images.

    Those of images in memory are no copies.
    """
    if not isinstance(part.images, Tensor):
        return in_order(part, PASS_BATCH)
    return zip(torch.split(part.images, PASS_BATCH), torch.split(part.labels, PASS_BATCH), strict=True)


@contextmanager
def _one_thread_if_small(part: Split) -> Iterator[None]:
    """Use one thread for small passes.

    Several threads would wait for each other after each operation longer than the operation takes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if part.images.nbytes <= SMALL_BYTES else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _weight(labels: Tensor, class_weights: Tensor | None) -> float:
    return float(len(labels)) if class_weights is None else float(class_weights[labels].sum())


@torch.inference_mode()
def _judge(network: nn.Module, part: Split) -> tuple[float, float]:
    """Return mean loss, without smoothing and weights, and accuracy."""
    loss, right = 0.0, 0
    for inputs, labels in _batches(part):
        logits = network(inputs).float()
        loss += float(cross_entropy(logits, labels, None, 0.0)) * len(labels)
        right += int((logits.argmax(1) == labels).sum())
    count = max(1, len(part))
    return (loss / count if math.isfinite(loss) else math.inf), right / count


def _trained(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


@torch.no_grad()
def _restore(network: nn.Module, values: Sequence[Tensor]) -> None:
    for parameter, value in zip(_trained(network), values, strict=True):
        parameter.copy_(value)
