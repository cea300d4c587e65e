"""Measure accuracy over training time on real data.

It uses the trainer's own setup and fit().
"""

import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.rivals import plain_loop
from benchmarks.timing import images_per_second
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Worker
from core.recipes.recipe import Recipe
from core.repositories import jobs
from core.settings import Settings
from worker.attempt.feature_cache import training_input
from worker.attempt.reporter import Reporter
from worker.attempt.setup import TrainingContext, TrainingState, set_up
from worker.data import augmentation
from worker.data.splits import Split, steps_per_epoch
from worker.evaluation.metrics import evaluate
from worker.training.fit import Epoch, FitOptions, fit

MARKS = (0.97, 0.99, 0.994)
SEEDS = 5
LOOKS = 24  # at the test set in one training, at most
STEPS = 5  # in an epoch, where a rate is measured
KEPT = 0.9  # of that rate, over minutes
QUICK: dict[str, Any] = {"train_samples": 256, "epochs": 1}
QUICK_TEST = 512  # images
MNIST: dict[str, Any] = {"dataset": "mnist", "weights": "random"}
ANTS: dict[str, Any] = {"dataset": "ants_bees", "network": "mobilenet_v2"}


@dataclass(frozen=True)
class Bench:
    settings: Settings
    device: torch.device
    seconds: float  # of a measured rate
    minutes: tuple[float, ...]  # of training on MNIST
    quick: bool  # a little of the data: shows that a row runs


@dataclass(frozen=True)
class Trial:
    """The result of one training run; seconds exclude evaluation."""

    images: int  # seen
    curve: tuple[tuple[float, float], ...]  # at some epochs' ends: seconds of training so far, test accuracy

    @property
    def seconds(self) -> float:
        return self.curve[-1][0]

    @property
    def accuracy(self) -> float:
        return self.curve[-1][1]

    def reached(self, mark: float) -> float | None:
        """Return the seconds of training until the test accuracy first reached ``mark``."""
        return next((seconds for seconds, accuracy in self.curve if accuracy >= mark), None)


def learn(bench: Bench, **recipe: Any) -> None:
    """Print the result of one training run."""
    trial = train(bench, **recipe)
    marks = ", ".join(f"{mark:.1%} {_mean_reached([trial], mark)}" for mark in MARKS)
    _row(_name(recipe), trial.images, trial.seconds, f"{trial.accuracy:.2%}", marks)


def mnist_seeds(bench: Bench) -> None:
    """Print the default recipe's results over several seeds.

    A short warm-up training comes first.
    """
    train(bench, **MNIST, train_samples=2000, epochs=1)
    trials = [train(bench, **MNIST, seed=seed) for seed in range(1 if bench.quick else SEEDS)]
    seconds = statistics.mean(trial.seconds for trial in trials)
    accuracies = [trial.accuracy for trial in trials]
    marks = ", ".join(f"{mark:.1%} {_mean_reached(trials, mark)}" for mark in MARKS)
    accuracy = f"{statistics.mean(accuracies):.2%} ({min(accuracies):.2%}-{max(accuracies):.2%})"
    _row(f"mnist, mean of {len(trials)} seeds", trials[0].images, seconds, accuracy, marks)


def mnist_minutes(bench: Bench) -> None:
    """Print trainings planned for given minutes, beside a tutorial's loop.

    Its time is for as many images.
    """
    rate, available = our_rate(bench)
    for minutes in bench.minutes:
        recipe = MNIST | fitting(KEPT * rate * minutes * 60, available)
        before = tutorial_rate(bench)
        trial = train(bench, **recipe)
        slow_s = trial.images / statistics.mean([before, tutorial_rate(bench)])
        note = f"a tutorial's loop: {slow_s:,.0f} s, {slow_s / trial.seconds:.1f} times as long"
        _row(f"mnist, planned for {minutes:g} min", trial.images, trial.seconds, f"{trial.accuracy:.2%}", note)


def fitting(images: float, available: int) -> dict[str, int]:
    """Choose epochs and subset size for about ``images`` images seen.

    Each image is seen equally often.
    """
    epochs = max(1, -(-round(images) // available))
    return {"epochs": epochs, "train_samples": max(2, min(available, round(images / epochs)))}


def our_rate(bench: Bench) -> tuple[float, int]:
    """Measure the default recipe's images/s and count its training images.

    The data are MNIST's.
    """
    with prepared(bench, **MNIST) as (context, state):
        available, batch = len(context.splits.train), state.recipe.batch_size
    with prepared(bench, **MNIST, train_samples=STEPS * batch, batch_size=batch, epochs=10_000) as (context, state):
        return images_per_second(epochs_of(context, state), STEPS * batch, bench.seconds), available


def tutorial_rate(bench: Bench) -> float:
    with prepared(bench, **MNIST, train_samples=2000, epochs=1) as (context, _):
        return plain_loop.tutorial(context.splits.train, bench.device, bench.seconds)


def train(bench: Bench, **recipe: Any) -> Trial:
    with prepared(bench, **recipe) as (context, state):
        test = context.splits.test
        if bench.quick:
            test = Split(test.some(range(min(QUICK_TEST, len(test)))), test.labels[:QUICK_TEST])
        epochs, seconds, curve = state.recipe.epochs, 0.0, []
        for epoch in epochs_of(context, state):
            seconds += epoch.seconds
            if (epochs - epoch.number) % math.ceil(epochs / LOOKS) == 0:
                seen = evaluate(context.network, context.prepare, test, len(context.dataset.classes))
                curve.append((seconds, seen.accuracy))
        batch = state.recipe.batch_size
        return Trial(epochs * batch * steps_per_epoch(len(context.splits.train), batch), tuple(curve))


def epochs_of(context: TrainingContext, state: TrainingState) -> Iterator[Epoch]:
    """Train like the trainer, without checkpoints."""
    work = training_input(context, state.recipe, context.frozen)
    options = FitOptions(frozen=work.frozen, augment=augmentation.SETS[state.recipe.augmentation])
    return fit(work.network, work.prepare, work.train, state.recipe, context.device, options)


@contextmanager
def prepared(bench: Bench, **recipe: Any) -> Iterator[tuple[TrainingContext, TrainingState]]:
    """Set up a training run like the trainer.

    Its job is in a temporary database.
    """
    requested = Recipe(**{"device": str(bench.device)} | (QUICK if bench.quick else {}) | recipe)
    with tempfile.TemporaryDirectory() as folder:
        settings = bench.settings.model_copy(update={"data_dir": Path(folder), "database_url": None})
        db = Database(settings.resolved_database_url)
        db.migrate()
        with db.write() as session:
            session.add(Worker(id="worker_here", host="here", pid=0, started_at=0, heartbeat_at=0))
            jobs.enqueue(session, requested, time.time(), queue_limit=1)
        with db.write() as session:
            claim = jobs.claim(session, "worker_here", time.time())
        assert claim is not None
        yield set_up(settings, db, LocalStore(settings.data_dir), Reporter(db, claim, settings.heartbeat_interval_s))
        db.close()


def _row(name: str, images: int, seconds: float, accuracy: str, note: str) -> None:
    print(f"| {name} | {images:,} | {seconds:,.1f} s | {accuracy} | {note} |", flush=True)


def _name(recipe: dict[str, Any]) -> str:
    said = ", ".join(f"{name} {value}" for name, value in recipe.items() if name != "dataset")
    return f"{recipe['dataset']}, {said}"


def _mean_reached(trials: list[Trial], mark: float) -> str:
    reached = [seconds for trial in trials if (seconds := trial.reached(mark)) is not None]
    if not reached:
        return "never"
    share = f" ({len(reached)} of {len(trials)})" if len(trials) > 1 else ""
    return f"after {statistics.mean(reached):,.1f} s{share}"
