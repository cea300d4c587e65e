"""The process that trains one attempt of one job: ``python -m worker.trainer <job id> <attempt>``.

It reads the recipe, trains, writes checkpoints and events, publishes the model and ends the job. When it dies, the
worker's loop sees it; when the worker dies, the kernel kills it; when it has lost the job, its own beat ends it.
"""

import logging
import os
import signal
import sys
import time
import traceback
from typing import Any

from core import jobs, models
from core.checkpoints import write_folder
from core.db import Database
from core.errors import ClaimLost
from core.jobs import Claim
from core.settings import Settings
from core.store import ArtifactStore, LocalStore
from core.tables import Phase
from worker import augment, checkpointing, devices
from worker.evaluate import Evaluation, evaluate
from worker.failures import classify
from worker.features import Work, keep_activations
from worker.launch import EXIT_CLAIM_LOST, EXIT_INTERRUPTED
from worker.parent import die_with_parent
from worker.publish import model_files
from worker.report import Reporter
from worker.setup import Training, set_up
from worker.train import Epoch, Interrupted, Progress, fit

log = logging.getLogger(__name__)
TRACEBACK_TAIL = 4_000  # characters
ACCURACY_MARKS = (0.9, 0.97, 0.99)  # of time_to_accuracy, on the validation part


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    die_with_parent()
    os.nice(settings.train_niceness)
    claim = Claim(sys.argv[1], int(sys.argv[2]))
    db = Database(settings.resolved_database_url)
    report = Reporter(db, claim, settings.beat_s)
    signal.signal(signal.SIGTERM, lambda *_: report.stop.set())
    report.start_beating()
    try:
        run(settings, db, LocalStore(settings.data_dir), report)
    except Interrupted:
        log.info("interrupted")
        return EXIT_INTERRUPTED
    except ClaimLost as lost:
        log.warning("%s", lost)
        return EXIT_CLAIM_LOST
    except Exception as error:  # the process's edge: whatever it was, the job's row says it
        log.exception("the job failed")
        _record_failure(db, claim, error)
    return 0


def run(settings: Settings, db: Database, store: ArtifactStore, report: Reporter) -> None:
    """One attempt, from the recipe to the published model."""
    report.phase(Phase.STARTING)
    training = set_up(settings, db, store, report)
    checkpointing.resume(training)
    train(training)
    best = choose_best(training)
    evaluation = evaluate(training.network, training.prepare, training.splits.test, len(training.dataset.classes))
    publish(training, best, evaluation)


def train(training: Training) -> None:
    work = _work(training)
    training.report.phase(Phase.TRAINING, training.recipe.network)
    epochs = fit(
        work.network,
        work.prepare,
        work.train,
        training.recipe,
        training.device,
        epochs_done=len(training.history),
        optimizer=training.optimizer,
        frozen=work.frozen,
        augment=augment.SETS[training.recipe.augmentation],
        on_progress=lambda progress: _show(training, progress),
        should_stop=training.report.stop.is_set,
    )
    for epoch in epochs:
        _keep(training, work, epoch)


def _work(training: Training) -> Work:
    """All of the network on images; or, where a frozen part allows it, the rest of it on kept activations."""
    splits = training.splits
    whole = Work(training.network, training.prepare, splits.train, splits.validation, training.frozen)
    if not training.frozen or training.recipe.augmentation != "none":
        return whole
    kept = keep_activations(whole, training.settings.feature_cache_bytes)
    if kept is None:
        training.report.log("the activations of the frozen part are too large to keep: it runs for every image")
        return whole
    training.report.log(f"kept {kept.train.images.nbytes / 2**20:.0f} MiB of activations of the frozen part")
    return kept


def choose_best(training: Training) -> dict[str, Any]:
    """The network gets the weights of its best epoch, before the one look at the test set; that epoch's metrics."""
    training.report.phase(Phase.EVALUATING, f"{len(training.splits.test)} test images")
    return checkpointing.load_best(training)


def publish(training: Training, best: dict[str, Any], evaluation: Evaluation) -> None:
    """Bytes, then one transaction: the model's row, its aliases, and the end of the job."""
    report = training.report
    report.phase(Phase.PUBLISHING)
    model_id = f"model_{report.claim.job_id.removeprefix('job_')}_{report.claim.attempt}"
    timing = _timing(training)
    metrics = best | {"test_loss": evaluation.loss, "test_accuracy": evaluation.accuracy}
    card = checkpointing.describe(training) | {
        "id": model_id,
        "network": training.recipe.network,
        "best_epoch": best["epoch"],
        "metrics": metrics,
        "timing": timing,
        "confusion": evaluation.confusion,
        "per_class": evaluation.per_class(training.dataset.classes),
    }
    files = model_files(training.network, training.preparation, card, training.splits.test.images)
    key = f"models/{model_id}"
    card["files"] = write_folder(training.store, key, files, {"id": model_id})
    timing |= {"publish_s": report.seconds_in(Phase.PUBLISHING), "total_s": time.time() - report.started_at}
    now = time.time()
    with training.db.write() as session:
        models.publish(session, model_id, report.claim.job_id, key, card, now)
        jobs.succeed(
            session,
            report.claim,
            model_id,
            now,
            metrics=metrics,
            timing=timing,
            device=devices.describe(training.device),
            phases=report.ended_phases(),
            estimated_finish=None,
        )
    log.info("published %s: test accuracy %.4f", model_id, evaluation.accuracy)


# -- what people see while it trains


def _show(training: Training, progress: Progress) -> None:
    train_s = _train_s(training) + training.report.seconds_in(Phase.TRAINING)
    remaining_s = (progress.steps - progress.step) * training.recipe.batch_size / progress.images_per_s
    training.report.record(
        progress=_progress(training, progress.epoch, progress.step, progress.steps),
        metrics=(training.history[-1] if training.history else {})
        | {"train_loss": progress.loss, "train_accuracy": progress.accuracy, "learning_rate": progress.learning_rate},
        timing={"queued_s": training.queued_s, "train_s": train_s, "images_per_s": progress.images_per_s},
        estimated_finish=time.time() + remaining_s,
    )


def _keep(training: Training, work: Work, epoch: Epoch) -> None:
    """After an epoch: validate, remember, checkpoint."""
    started = time.monotonic()
    validation = None
    if len(work.validation):
        validation = evaluate(work.network, work.prepare, work.validation, len(training.dataset.classes))
    metrics = {
        "epoch": epoch.number,
        "train_loss": epoch.loss,
        "train_accuracy": epoch.accuracy,
        "validation_images": len(training.splits.validation),
        "validation_loss": validation.loss if validation else None,
        "validation_accuracy": validation.accuracy if validation else None,
        "learning_rate": epoch.learning_rate,
        "images_per_s": epoch.images_per_s,
        "train_s": _train_s(training) + epoch.seconds,  # training alone, earlier attempts' kept epochs included
        "validation_s": time.monotonic() - started,
    }
    training.history = [*training.history, metrics]
    steps = epoch.step // epoch.number * training.recipe.epochs
    progress = _progress(training, epoch.number, epoch.step, steps)
    device = devices.describe(training.device)
    training.report.event(
        "metrics", metrics, metrics=metrics, progress=progress, timing=_timing(training), device=device
    )
    checkpointing.save(training, epoch, metrics)
    log.info("epoch %d of %d: %s", epoch.number, training.recipe.epochs, metrics)


def _progress(training: Training, epoch: int, step: int, steps: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "epochs": training.recipe.epochs,
        "step": step,
        "steps": steps,
        "percent": round(100 * step / steps, 1),
    }


def _train_s(training: Training) -> float:
    return float(training.history[-1]["train_s"]) if training.history else 0.0


def _timing(training: Training) -> dict[str, Any]:
    report, history = training.report, training.history
    reached = {
        str(mark): next((m["train_s"] for m in history if (m["validation_accuracy"] or 0) >= mark), None)
        for mark in ACCURACY_MARKS
    }
    return {
        "queued_s": training.queued_s,
        "preparing_s": report.seconds_in(Phase.STARTING) + report.seconds_in(Phase.PREPARING_DATA),
        "train_s": _train_s(training),
        "evaluate_s": report.seconds_in(Phase.EVALUATING),
        "images_per_s": history[-1]["images_per_s"],
        "time_to_accuracy": reached,
    }


def _record_failure(db: Database, claim: Claim, error: Exception) -> None:
    tail = "".join(traceback.format_exception(error))[-TRACEBACK_TAIL:]
    try:
        with db.write() as session:
            jobs.fail(session, claim, jobs.describe(classify(error), tail), time.time())
    except ClaimLost as lost:
        log.warning("%s", lost)


if __name__ == "__main__":
    sys.exit(main())
