"""Train one attempt, stage by stage and epoch by epoch.

Each epoch is validated and leaves a checkpoint. When memory runs out, training goes on with half the batch.
"""

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from core.db.tables import Phase
from core.errors import InvalidRecipe
from core.recipes.recipe import ResolvedRecipe
from core.repositories import jobs
from worker.attempt import checkpointing, oom_backoff, progress
from worker.attempt.feature_cache import training_input
from worker.attempt.progress import ProgressReporter
from worker.attempt.setup import TrainingContext, TrainingInput, TrainingState
from worker.data import augmentation
from worker.evaluation.metrics import evaluate
from worker.training import devices
from worker.training.early_stopping import stopping_epoch
from worker.training.failure_codes import is_out_of_memory
from worker.training.fit import Callbacks, Epoch, FitOptions, Interrupted, fit
from worker.training.flops import flop_per_image
from worker.training.freezing import unfreeze
from worker.training.head_fit import Objective, fit_head
from worker.training.loss import balanced_class_weights
from worker.training.mid_epoch import step_of
from worker.training.optimizer import Arrays

log = logging.getLogger(__name__)
FEW_IMAGES = 1_000  # of a training; BatchNorm takes hundreds of steps to learn the statistics of other photos


@dataclass(frozen=True)
class Stage:
    """Consecutive epochs with the same frozen modules.

    They have their own optimizer and their own early stopping.
    """

    first: int  # epochs done before it
    last: int  # epochs done after it, unless it ends early
    frozen: tuple[str, ...]

    def recipe_of(self, state: TrainingState) -> ResolvedRecipe:
        """Return the stage's recipe, without augmentation before a later unfreezing.

        Until the unfreezing the activations of the frozen part are cached.
        """
        kept = self.frozen and self.last < state.recipe.epochs
        return state.recipe.model_copy(update={"augmentation": "none"}) if kept else state.recipe

    def ended_early(self, state: TrainingState) -> int | None:
        """Return the epoch after which early stopping ended it, else None."""
        epochs = stopping_epoch(state.history[self.first : self.last], state.recipe.early_stopping)
        return None if epochs is None else self.first + epochs

    def is_over(self, state: TrainingState) -> bool:
        return len(state.history) >= self.last or self.ended_early(state) is not None

    def own_state(self, state: TrainingState) -> Arrays | None:
        """Return the optimizer state to resume the stage from.

        None at the stage's start: a checkpoint there has the previous stage's state.
        """
        is_own = len(state.history) > self.first or step_of(state.optimizer_state) is not None
        return state.optimizer_state if is_own else None


def train(context: TrainingContext, state: TrainingState) -> TrainingState:
    """Train to the last epoch, halving the batch when memory runs out."""
    if state.recipe.compile and not devices.can_compile(context.device):
        state = _without_compiling(context, state)
    context.report.phase(Phase.TRAINING, state.recipe.network)
    reporter = ProgressReporter(context)
    while True:
        try:
            return _train_stages(context, state, reporter)
        except (MemoryError, RuntimeError) as error:
            if not (is_out_of_memory(error) and oom_backoff.can_halve(state.recipe)):
                raise
            reason = str(error)
        state = oom_backoff.halve_batch(context, state, reason)


def _without_compiling(context: TrainingContext, state: TrainingState) -> TrainingState:
    """Turn off torch.compile, which needs a C++ compiler."""
    recipe = state.recipe.model_copy(update={"compile": False})
    message = "compile: no compiler is there, which torch.compile needs; training as the network is"
    context.report.event("log", {"message": message}, resolved_recipe=recipe.model_dump(mode="json"))
    return replace(state, recipe=recipe)


def _train_stages(context: TrainingContext, state: TrainingState, reporter: ProgressReporter) -> TrainingState:
    """Train in one stage or, with ``unfreeze_after``, in two.

    The first one trains what is behind the frozen modules, the second one the whole network.
    """
    recipe, first = state.recipe, 0
    for last in filter(None, [recipe.unfreeze_after, recipe.epochs]):
        if first > 0:
            unfreeze(context.network)
        stage = Stage(first, last, () if first > 0 else context.frozen)
        if not stage.is_over(state):
            state = _train_stage(context, state, stage, reporter)
        if state.interrupted:
            return state
        first = stage.ended_early(state) or last
    return state


def _train_stage(
    context: TrainingContext, state: TrainingState, stage: Stage, reporter: ProgressReporter
) -> TrainingState:
    """Train the stage's remaining epochs.

    Returns when it ends, ends early or is interrupted.
    """
    resumed_from = stage.own_state(state)
    state = replace(state, optimizer_state=None)
    try:
        started = time.monotonic()
        data = training_input(context, stage.recipe_of(state), stage.frozen)
        features = data if stage.frozen and not data.frozen and len(data.train.images.shape) == 2 else None
        state = replace(state, features_s=state.features_s + time.monotonic() - started, kept=features)
        callbacks = Callbacks(
            on_progress=lambda now: reporter.show(state, now),
            on_mid_epoch=lambda position: checkpointing.save_mid_epoch(context, state, position),
            should_stop=context.report.stop.is_set,
        )
        options = _options(context, state, stage, data, resumed_from)
        flop = flop_per_image(data.network, data.prepare(data.train.some([0])))
        if state.recipe.optimizer == "lbfgs":
            return _fit_head(context, state, data, flop)
        if features is not None and resumed_from is None and stage.last < state.recipe.epochs:
            _start_with_fitted_head(context, state, features)
        for epoch in fit(data.network, data.prepare, data.train, state.recipe, context.device, options, callbacks):
            state = _finish_epoch(context, state, data, epoch, flop)
            if stage.ended_early(state):
                what = "ended" if stage.last == state.recipe.epochs else "the frozen part is trained too"
                context.report.log(f"{what} after epoch {epoch.number}: validation no longer gets better")
                break
    except Interrupted:
        return replace(state, interrupted=True)
    return state


def _fit_head(context: TrainingContext, state: TrainingState, data: TrainingInput, flop: float) -> TrainingState:
    """Fit the head behind kept activations, as the only epoch."""
    if data.frozen:
        raise InvalidRecipe("optimizer: lbfgs needs the kept activations, for which there is no room on the disk.")
    with context.db.read() as session:
        chosen = jobs.get(session, context.report.claim.job_id).recipe["weight_decay"] == "auto"
    decay = None if chosen else state.recipe.weight_decay
    fitted = fit_head(data.network, data.train, data.validation, _objective(context, state, data), decay)
    recipe = state.recipe.model_copy(update={"weight_decay": fitted.weight_decay})
    message = {"message": f"fitted the head with a weight decay of {fitted.weight_decay:g}"}
    context.report.event("log", message, resolved_recipe=recipe.model_dump(mode="json"))
    return _finish_epoch(context, replace(state, recipe=recipe), data, fitted.epoch, flop)


def _kept_statistics(context: TrainingContext, stage: Stage) -> tuple[str, ...]:
    """Name the BatchNorms that keep their statistics when the rest is unfrozen.

    Few photos would spoil them.
    """
    if stage.first == 0 or len(context.splits.train) >= FEW_IMAGES:
        return ()
    return tuple(name for name, module in context.network.named_modules() if isinstance(module, nn.BatchNorm2d))


def _start_with_fitted_head(context: TrainingContext, state: TrainingState, features: TrainingInput) -> None:
    """Fit the head before its first step, since all is trained soon.

    A head that is still random then would spoil the features that it is to use (Kumar et al. 2022).
    """
    fitted = fit_head(features.network, features.train, features.validation, _objective(context, state, features), None)
    context.report.log(f"the head begins as fitted with a weight decay of {fitted.weight_decay:g}")


def _objective(context: TrainingContext, state: TrainingState, data: TrainingInput) -> Objective:
    return Objective(_class_weights(context, state, data), state.recipe.label_smoothing, context.report.stop.is_set)


def _class_weights(context: TrainingContext, state: TrainingState, data: TrainingInput) -> Tensor | None:
    balanced = state.recipe.class_weights == "balanced"
    return balanced_class_weights(data.train.labels, len(context.dataset.classes)) if balanced else None


def _options(
    context: TrainingContext, state: TrainingState, stage: Stage, data: TrainingInput, resumed_from: Arrays | None
) -> FitOptions:
    return FitOptions(
        epochs_done=len(state.history),
        last_epoch=stage.last,
        state=resumed_from,
        frozen=data.frozen or _kept_statistics(context, stage),
        augment=augmentation.SETS[stage.recipe_of(state).augmentation],
        class_weights=_class_weights(context, state, data),
        checkpoint_every_s=context.settings.checkpoint_s,
    )


def _finish_epoch(
    context: TrainingContext, state: TrainingState, data: TrainingInput, epoch: Epoch, flop: float
) -> TrainingState:
    """Validate an epoch and write its metrics and its checkpoint."""
    metrics = _metrics(context, state, data, epoch, flop)
    state = replace(state, history=(*state.history, metrics))
    steps = epoch.step // epoch.number * state.recipe.epochs
    context.report.event(
        "metrics",
        metrics,
        metrics=metrics,
        progress=progress.position(state.recipe, epoch.number, epoch.step, steps),
        timing=progress.timing(context, state),
        device=devices.describe(context.device),
    )
    checkpointing.save(context, state, epoch)
    log.info("epoch %d of %d: %s", epoch.number, state.recipe.epochs, metrics)
    return state


def _metrics(
    context: TrainingContext, state: TrainingState, data: TrainingInput, epoch: Epoch, flop: float
) -> dict[str, Any]:
    started = time.monotonic()
    validation, score, error = None, None, None
    if len(data.validation):
        validation = evaluate(data.network, data.prepare, data.validation, len(context.dataset.classes))
        balanced = state.recipe.class_weights == "balanced"
        score = validation.macro_recall if balanced else validation.accuracy
        error = validation.macro_recall_error if balanced else validation.accuracy_error
    return {
        "epoch": epoch.number,
        "train_loss": epoch.loss,
        "train_accuracy": epoch.accuracy,
        "validation_images": len(context.splits.validation),
        "validation_loss": validation.loss if validation else None,
        "validation_accuracy": validation.accuracy if validation else None,
        "validation_score": score,  # chooses the epoch
        "validation_score_error": error,
        "learning_rate": epoch.learning_rate,
        "images_per_s": epoch.images_per_s,
        "flop_per_s": flop * epoch.images_per_s,
        "data_wait_s": epoch.data_wait_s,
        "train_s": progress.train_s(state) + epoch.seconds,
        "features_s": state.features_s,
        "validation_s": time.monotonic() - started,
    }
