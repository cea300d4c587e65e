"""An attempt's checkpoints: saved after each epoch, gone on from after a death, thinned as they age."""

import math
import time
from collections.abc import Sequence
from typing import Any

import onnxruntime
import torch
import torchvision
from sqlalchemy.orm import Session

from core import checkpoints, jobs
from core.ids import checkpoint_id
from core.manifest import from_tensors, read_manifest, read_tensors, write_folder
from core.model_files import TRAINING_STATE, WEIGHTS
from core.network import from_arrays, to_arrays
from core.recipe import ResolvedRecipe
from core.tables import Checkpoint
from worker import devices
from worker.midway import Midway
from worker.optimization import Arrays
from worker.setup import Training
from worker.train import Epoch


def save(training: Training, epoch: Epoch, metrics: dict[str, Any], **columns: Any) -> None:
    """Bytes, then the row, in one transaction with the event and whatever ``columns`` say of the job."""
    _save(training, epoch.number, epoch.step, epoch.state, metrics, **columns)
    _thin(training)


def save_midway(training: Training, midway: Midway) -> None:
    """The same within an epoch. There is one such checkpoint at a time, and only to go on from: it has no metrics."""
    _save(training, len(training.history), midway.step, midway.state, {})
    _thin(training)


def _save(training: Training, epochs: int, step: int, state: Arrays, metrics: dict[str, Any], **columns: Any) -> None:
    claim, now = training.report.claim, time.time()
    key = f"jobs/{claim.job_id}/checkpoints/{claim.attempt:03d}/{step:08d}"
    files = {WEIGHTS: from_tensors(to_arrays(training.network)), TRAINING_STATE: from_tensors(state)}
    write_folder(training.store, key, files, describe(training) | {"epoch": epochs, "step": step, "metrics": metrics})
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
        created_at=now,
    )
    about = {"id": row.id, "epoch": epochs, "step": step, "size_bytes": size}
    training.report.event("checkpoint", about, row, **columns)


def resume(training: Training, after_an_epoch: bool = False) -> str | None:
    """Go on from the newest whole checkpoint of the job, or of the one that it retries; its id, or None.

    ``after_an_epoch``: not from one within an epoch, whose steps are of a certain batch size.
    """
    claim = training.report.claim
    with training.db.read() as session:
        row = checkpoints.newest_whole(session, training.store, claim.job_id, after_an_epoch)
    if row is None:
        return None
    manifest = read_manifest(training.store, row.key)
    if manifest["dataset_digest"] != training.dataset.digest:
        training.report.log(f"{row.id} was made with other data: starting anew")
        return None
    training.network.load_state_dict(from_arrays(read_tensors(training.store, row.key, WEIGHTS)))
    training.state = read_tensors(training.store, row.key, TRAINING_STATE)
    training.history = manifest["history"]
    training.since_attempt = row.attempt if row.job_id == claim.job_id else 0
    training.features_s = training.history[-1]["features_s"] if training.history else 0.0
    training.recipe = ResolvedRecipe.model_validate(manifest["recipe"] | {"device": str(training.device)})
    message = f"resumed from {row.id}, after step {row.step}"
    recipe = training.recipe.model_dump(mode="json")
    training.report.event("log", {"message": message}, resumed_from=row.id, resolved_recipe=recipe)
    return row.id


def load_best(training: Training, interrupted: bool = False) -> dict[str, Any]:
    """Give the network the weights of the best epoch; that epoch's metrics.

    ``interrupted``: the network has gone on since its last epoch.
    """
    with training.db.read() as session:
        rows = _of_this_run(session, training)
    last = training.history[-1]
    best = _best_kept(training.history, rows) if rows else last
    if best["epoch"] != last["epoch"] or interrupted:
        row = next(row for row in rows if row.metrics == best)
        training.network.load_state_dict(from_arrays(read_tensors(training.store, row.key, WEIGHTS)))
    return best


def best_epoch(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The most accurate epoch on the validation part; of those that only chance sets apart, the newest.

    Accuracies are apart when they differ by two standard errors: on 144 images at 98 %, by four images. Among equals
    the rate has fallen furthest in the newest; on the embedded digits, taking the mere maximum or the lowest loss cost
    a point on the test set. Without a validation part it is the newest, too.
    """
    newest = max(history, key=lambda metrics: int(metrics["epoch"]))
    if newest["validation_accuracy"] is None:
        return newest
    top = max(metrics["validation_accuracy"] for metrics in history)
    error = math.sqrt(top * (1 - top) / newest["validation_images"])
    close = [metrics for metrics in history if metrics["validation_accuracy"] >= top - 2 * error]
    return max(close, key=lambda metrics: int(metrics["epoch"]))


def _best_kept(history: Sequence[dict[str, Any]], rows: Sequence[Checkpoint]) -> dict[str, Any]:
    """The best of all epochs, which is kept whenever a worse one follows: only what is damaged can have been dropped.

    The best of those that are kept would drift: each of .98, .96, .94, .92 is only by chance better than the next.
    """
    best, kept = best_epoch(history), [row.metrics for row in rows]
    return best if best in kept else best_epoch(kept)


def describe(training: Training) -> dict[str, Any]:
    """What a run needs to stay explainable, beside its weights."""
    return {
        "job_id": training.report.claim.job_id,
        "attempt": training.report.claim.attempt,
        "recipe": training.recipe.model_dump(mode="json"),
        "dataset": training.dataset.name,
        "dataset_digest": training.dataset.digest,
        "classes": list(training.dataset.classes),
        "preparation": training.preparation.model_dump(mode="json"),
        "history": training.history,
        "phases": training.report.phases,
        "device": devices.describe(training.device),
        "versions": {
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }


def _thin(training: Training) -> None:
    """Keep the newest checkpoints and the best one, and of those within an epoch one that is newer than all others.

    Rows first: whoever sees a row can read its bytes.
    """

    def drop(session: Session) -> list[Checkpoint]:
        jobs.beat(session, training.report.claim, time.time())  # still ours
        rows = _of_this_run(session, training)
        kept = rows[: training.settings.keep_checkpoints]
        if rows:
            best = _best_kept(training.history, rows)
            kept += [row for row in rows if row.metrics == best]
        older = checkpoints.of_job(session, training.report.claim.job_id)[1:]  # its own alone, not those it retries
        dropped = [row for row in older if row not in kept and (row in rows or not row.metrics)]
        for row in dropped:
            session.delete(row)
        return dropped

    for row in training.report.write(drop):
        training.store.delete(row.key)


def _of_this_run(session: Session, training: Training) -> list[Checkpoint]:
    """Newest first; without what an attempt left that this one did not go on from."""
    rows = checkpoints.of_run(session, training.report.claim.job_id)
    return [row for row in rows if row.metrics in training.history]
