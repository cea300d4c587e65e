"""Write, resume and prune the checkpoints of an attempt."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import onnxruntime
import torch
import torchvision
from sqlalchemy.orm import Session

from core.artifacts.manifest import from_tensors, read_manifest, read_tensors, write_folder
from core.artifacts.model_files import TRAINING_STATE, WEIGHTS
from core.db.tables import Checkpoint
from core.ids import checkpoint_id
from core.inference.network import from_arrays, to_arrays
from core.recipes.recipe import ResolvedRecipe
from core.repositories import checkpoints, jobs
from worker.attempt.setup import TrainingContext, TrainingState
from worker.training import devices
from worker.training.fit import Epoch
from worker.training.mid_epoch import MidEpoch
from worker.training.optimizer import Arrays


def save(context: TrainingContext, state: TrainingState, epoch: Epoch) -> None:
    """Write a checkpoint after the history's last epoch.

    Its files come first, then its row and its event.
    """
    _save(context, state, epoch.step, epoch.state, state.history[-1])
    _prune(context, state)


def save_mid_epoch(context: TrainingContext, state: TrainingState, position: MidEpoch) -> None:
    """Write a checkpoint within an epoch.

    It has no metrics, and the next checkpoint replaces it.
    """
    _save(context, state, position.step, position.state, {})
    _prune(context, state)


def _save(context: TrainingContext, state: TrainingState, step: int, arrays: Arrays, metrics: dict[str, Any]) -> None:
    claim, epochs = context.report.claim, len(state.history)
    key = f"jobs/{claim.job_id}/checkpoints/{claim.attempt:03d}/{step:08d}"
    files = {WEIGHTS: from_tensors(to_arrays(context.network)), TRAINING_STATE: from_tensors(arrays)}
    manifest = describe(context, state) | {"epoch": epochs, "step": step, "metrics": metrics}
    write_folder(context.store, key, files, manifest)
    size = sum(map(len, files.values()))
    row = Checkpoint(
        id=checkpoint_id(claim.job_id, claim.attempt, step),
        job_id=claim.job_id,
        attempt=claim.attempt,
        epoch=epochs,
        step=step,
        key=key,
        metrics=metrics,
        size_bytes=size,
        created_at=time.time(),
    )
    about = {"id": row.id, "epoch": epochs, "step": step, "size_bytes": size}
    context.report.event("checkpoint", about, row)


def resume(context: TrainingContext, state: TrainingState, after_an_epoch: bool = False) -> TrainingState:
    """Load the job's newest undamaged checkpoint, if there is one.

    Without one of its own, that of the job that it retries. ``after_an_epoch`` leaves out one within an epoch, whose
    step number holds for one batch size alone.
    """
    claim = context.report.claim
    with context.db.read() as session:
        row = checkpoints.newest_whole(session, context.store, claim.job_id, after_an_epoch)
    if row is None:
        return state
    manifest = read_manifest(context.store, row.key)
    if manifest["dataset_digest"] != context.dataset.digest:
        context.report.log(f"{row.id} was made with other data: starting anew")
        return state
    context.network.load_state_dict(from_arrays(read_tensors(context.store, row.key, WEIGHTS)))
    history = manifest["history"]
    recipe = ResolvedRecipe.model_validate(manifest["recipe"] | {"device": str(context.device)})
    message = f"resumed from {row.id}, after step {row.step}"
    resolved = recipe.model_dump(mode="json")
    context.report.event("log", {"message": message}, resumed_from=row.id, resolved_recipe=resolved)
    return replace(
        state,
        recipe=recipe,
        history=tuple(history),
        optimizer_state=read_tensors(context.store, row.key, TRAINING_STATE),
        features_s=history[-1]["features_s"] if history else 0.0,
        since_attempt=row.attempt if row.job_id == claim.job_id else 0,
    )


def load_best(context: TrainingContext, state: TrainingState) -> dict[str, Any]:
    """Load the best epoch's weights into the network; return its metrics."""
    with context.db.read() as session:
        rows = _of_this_run(session, context, state)
    last = state.history[-1]
    best = _best_kept(state.history, rows) if rows else last
    if best["epoch"] != last["epoch"] or state.interrupted:  # interrupted: trained on since its last epoch
        row = next(row for row in rows if row.metrics == best)
        context.network.load_state_dict(from_arrays(read_tensors(context.store, row.key, WEIGHTS)))
    return best


def best_epoch(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the newest epoch within two standard errors of the best.

    The measure is the score on the validation split. Two standard errors are four of 144 images at 98 %, and one of 18
    at 100 %. Among equals the learning rate has fallen furthest in the newest: on the embedded digits, the maximum
    alone or the lowest loss of all cost a point on the test set. Of epochs with the newest's very score it is the one
    with the lowest loss. Without a validation split it is the newest epoch.
    """
    newest = max(history, key=_number)
    if newest["validation_score"] is None:
        return newest
    top = max(history, key=_score)
    least = top["validation_score"] - 2 * top["validation_score_error"]
    newest = max((metrics for metrics in history if _score(metrics) >= least), key=_number)
    equals = [metrics for metrics in history if _score(metrics) == _score(newest)]
    return min(equals, key=lambda metrics: (metrics["validation_loss"], -_number(metrics)))


def _number(metrics: dict[str, Any]) -> int:
    return int(metrics["epoch"])


def _score(metrics: dict[str, Any]) -> float:
    return float(metrics["validation_score"])


def _best_kept(history: Sequence[dict[str, Any]], rows: Sequence[Checkpoint]) -> dict[str, Any]:
    """Return the best epoch, or the best one with a checkpoint.

    The latter if the best epoch's checkpoint was damaged. Choosing among the checkpoints alone would drift: each of
    0.98, 0.96, 0.94 and 0.92 is within chance of the next.
    """
    best, kept = best_epoch(history), [row.metrics for row in rows]
    return best if best in kept else best_epoch(kept)


def describe(context: TrainingContext, state: TrainingState) -> dict[str, Any]:
    """Describe a run for manifests and the model's card.

    All that explains it besides its weights.
    """
    return {
        "job_id": context.report.claim.job_id,
        "attempt": context.report.claim.attempt,
        "recipe": state.recipe.model_dump(mode="json"),
        "dataset": context.dataset.name,
        "dataset_digest": context.dataset.digest,
        "test_digest": context.dataset.test_digest,
        "classes": list(context.dataset.classes),
        "weights_license": context.weights_license,
        "preparation": context.preparation.model_dump(mode="json"),
        "history": list(state.history),
        "phases": context.report.phases,
        "device": devices.describe(context.device),
        "versions": {
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }


def _prune(context: TrainingContext, state: TrainingState) -> None:
    """Delete all but the newest checkpoints and the best one.

    Of checkpoints within an epoch the newest stays. Rows are deleted before files, so that whoever sees a row can read
    its files.
    """

    def drop(session: Session) -> list[Checkpoint]:
        jobs.heartbeat(session, context.report.claim, time.time())  # raises ClaimLost
        rows = _of_this_run(session, context, state)
        kept = rows[: context.settings.keep_checkpoints]
        if rows:
            best = _best_kept(state.history, rows)
            kept += [row for row in rows if row.metrics == best]
        older = checkpoints.of_job(session, context.report.claim.job_id)[1:]  # not those of the job that it retries
        dropped = [row for row in older if row not in kept and (row in rows or not row.metrics)]
        for row in dropped:
            session.delete(row)
        return dropped

    for row in context.report.write(drop):
        context.store.delete(row.key)


def _of_this_run(session: Session, context: TrainingContext, state: TrainingState) -> list[Checkpoint]:
    """Return the checkpoints that this history comes from, newest first."""
    rows = checkpoints.of_run(session, context.report.claim.job_id)
    return [row for row in rows if row.metrics in state.history]
