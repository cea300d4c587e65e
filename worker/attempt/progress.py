"""Progress of a training: position, speed, time spent and time left."""

import time
from typing import Any

from core.db.tables import Phase
from core.recipes.recipe import ResolvedRecipe
from worker.attempt.setup import TrainingContext, TrainingState
from worker.training.fit import Progress

STEP_EVERY_PERCENT = 2  # of the whole training: the steps that become events
ACCURACY_MARKS = (0.9, 0.97, 0.99)  # on the validation split, for time_to_accuracy


class ProgressReporter:
    """Write each Progress to the job's row and some to its events.

    One every STEP_EVERY_PERCENT goes to the events.
    """

    def __init__(self, context: TrainingContext) -> None:
        self._context = context
        self._reported_percent = 0.0

    def show(self, state: TrainingState, now: Progress) -> None:
        step_s = state.recipe.batch_size / now.images_per_s
        step_of_epoch = now.step - (now.epoch - 1) * now.steps // state.recipe.epochs
        speed = {"images_per_s": now.images_per_s}
        here = position(state.recipe, now.epoch, now.step, now.steps)
        metrics = {"train_loss": now.loss, "train_accuracy": now.accuracy, "learning_rate": now.learning_rate}
        spent = {"train_s": train_s(state) + step_of_epoch * step_s}
        columns = {
            "progress": here,
            "metrics": (state.history[-1] if state.history else {}) | metrics,
            "timing": timing(self._context, state) | spent | speed,
            "estimated_finish": time.time() + (now.steps - now.step) * step_s,
        }
        if here["percent"] >= self._reported_percent + STEP_EVERY_PERCENT:
            self._reported_percent = here["percent"]
            self._context.report.event("step", here | metrics | speed, **columns)
        else:
            self._context.report.progress(**columns)


def position(recipe: ResolvedRecipe, epoch: int, step: int, steps: int) -> dict[str, Any]:
    """Return the job's ``progress`` column."""
    return {
        "epoch": epoch,
        "epochs": recipe.epochs,
        "step": step,
        "steps": steps,
        "percent": round(100 * step / steps, 1),
    }


def train_s(state: TrainingState) -> float:
    """Return the seconds of training alone, over all epochs of the history."""
    return float(state.history[-1]["train_s"]) if state.history else 0.0


def timing(context: TrainingContext, state: TrainingState) -> dict[str, Any]:
    """Return the job's ``timing`` column."""
    report, history = context.report, state.history
    reached = {
        str(mark): next(
            (m["train_s"] + m["features_s"] for m in history if (m["validation_accuracy"] or 0) >= mark), None
        )
        for mark in ACCURACY_MARKS
    }
    return {
        "queued_s": context.queued_s,
        "preparing_s": report.seconds_in(Phase.STARTING) + report.seconds_in(Phase.PREPARING_DATA),
        "features_s": state.features_s,
        "train_s": train_s(state),
        "data_wait_s": sum(metrics["data_wait_s"] for metrics in history),
        "time_to_accuracy": reached,
        **{name: history[-1][name] for name in ("images_per_s", "flop_per_s") if history},
    }
