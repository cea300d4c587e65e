"""The process that trains one attempt of one job: ``python -m worker.trainer <job id> <attempt>``; without these it
waits for them, see worker.spare.

It reads the recipe, trains, writes checkpoints and events, publishes the model and ends the job. When it dies, the
worker's loop sees it; when the worker dies, the kernel kills it; when it has lost the job, its own beat ends it.
"""

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy.exc import OperationalError

from core import jobs, tracing
from core.db import Database
from core.errors import ClaimLost
from core.jobs import Claim
from core.settings import Settings
from core.store import ArtifactStore, LocalStore
from core.tables import Phase
from worker import augment, back_off, checkpointing, devices, mlflow_runs, tensorboard
from worker.early_stopping import over_after
from worker.evaluate import ask, evaluate
from worker.exit_codes import EXIT_CLAIM_LOST, EXIT_INTERRUPTED
from worker.failures import classify, is_out_of_memory
from worker.features import Disk, Work, keep_activations
from worker.flops import flop_per_image
from worker.freeze import unfreeze
from worker.midway import step_of
from worker.optimization import balanced
from worker.parent import die_with_parent
from worker.publish import publish
from worker.report import Listener, Reporter
from worker.setup import Training, set_up
from worker.spare import wait_for_claim
from worker.train import Epoch, Interrupted, Progress, fit

log = logging.getLogger(__name__)
TRACEBACK_TAIL = 4_000  # characters
TRACEBACK_CUT = "Traceback (its last lines):\n"
RECORD_AGAIN_S = 0.2
ACTIVATIONS_TOLD_EVERY_S = 10.0
STEP_EVERY_PERCENT = 2  # of the whole training: a thinned history within epochs, which stays
ACCURACY_MARKS = (0.9, 0.97, 0.99)  # of time_to_accuracy, on the validation part


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    die_with_parent()
    os.nice(settings.train_niceness)
    claim = Claim(sys.argv[1], int(sys.argv[2])) if sys.argv[1:] else wait_for_claim(settings)
    if claim is None:
        return 0
    db = Database(settings.resolved_database_url)
    report = Reporter(db, claim, settings.beat_s)
    report.listeners.extend(listeners(settings, claim))
    signal.signal(signal.SIGTERM, lambda *_: report.stop.set())
    report.start_beating()
    code = _attempt(settings, db, report)
    report.ended()
    db.close()
    return code


def listeners(settings: Settings, claim: Claim) -> Iterator[Listener]:
    """Who else is told of the job: what is installed and asked for."""
    if tensorboard.is_installed():
        yield tensorboard.Board(settings.data_dir, claim.job_id)
    if mlflow_runs.is_on():
        yield mlflow_runs.Runs(claim)
    if tracing.is_on():
        from worker.tracing import Ids, JobTrace

        yield JobTrace(claim, tracing.provider("trainer", Ids(claim)))


def _attempt(settings: Settings, db: Database, report: Reporter) -> int:
    """The exit code; what the job's row can say, it says."""
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
        _record_failure(db, report.claim, error)
    return 0


def run(settings: Settings, db: Database, store: ArtifactStore, report: Reporter) -> None:
    """One attempt, from the recipe to the published model."""
    report.phase(Phase.STARTING)
    training = set_up(settings, db, store, report)
    checkpointing.resume(training)
    back_off.heed_deaths(training)
    interrupted = False
    try:
        train(training)
    except Interrupted:
        if not (report.keeps and training.history):
            raise
        interrupted = True
    best = choose_best(training, interrupted)
    validation, test = (
        ask(training.network, training.prepare, part, len(training.dataset.classes))
        for part in (training.splits.validation, training.splits.test)
    )
    publish(training, best, _timing(training), validation, test)


def train(training: Training) -> None:
    """To the last epoch; what does not fit the memory is tried again with half the batch."""
    if training.recipe.compile and not devices.can_compile(training.device):
        _do_without_compiling(training)
    training.report.phase(Phase.TRAINING, training.recipe.network)
    while True:
        try:
            return _train(training)
        except (MemoryError, RuntimeError) as error:
            if not (is_out_of_memory(error) and back_off.can_halve(training.recipe)):
                raise
            reason = str(error)
        back_off.halve_batch(training, reason)


def _do_without_compiling(training: Training) -> None:
    training.recipe = training.recipe.model_copy(update={"compile": False})
    message = "compile: no compiler is there, which torch.compile needs; training as the network is"
    training.report.event("log", {"message": message}, resolved_recipe=training.recipe.model_dump(mode="json"))


def _train(training: Training) -> None:
    """In one go; or behind a frozen part first, then, when its time has come, all of the network."""
    recipe, first = training.recipe, 0
    for last in filter(None, [recipe.unfreeze_after, recipe.epochs]):
        if first > 0:
            unfreeze(training.network)
            training.frozen = ()
        if len(training.history) < last and _over_after(training, first, last) is None:
            _train_stage(training, first, last)
            training.state = None  # what it began with is no state of the next stage
        first = _over_after(training, first, last) or last


def _over_after(training: Training, first: int, last: int) -> int | None:
    """The epoch with which the stage of these epochs ended early; a stage has its own patience."""
    epochs = over_after(training.history[first:last], training.recipe.early_stopping)
    return None if epochs is None else first + epochs


def _train_stage(training: Training, first: int, last: int) -> None:
    done = len(training.history)
    here = done > first or step_of(training.state) is not None  # else the state is the stage's before
    work = _work(training)
    labels, classes = work.train.labels, len(training.dataset.classes)
    epochs = fit(
        work.network,
        work.prepare,
        work.train,
        training.recipe,
        training.device,
        epochs_done=done,
        last_epoch=last,
        state=training.state if here else None,
        frozen=work.frozen,
        augment=augment.SETS[training.recipe.augmentation],
        class_weights=balanced(labels, classes) if training.recipe.class_weights == "balanced" else None,
        on_progress=lambda progress: _show(training, progress),
        on_midway=lambda midway: checkpointing.save_midway(training, midway),
        midway_every_s=training.settings.checkpoint_s,
        should_stop=training.report.stop.is_set,
    )
    flop = flop_per_image(work.network, work.prepare(work.train.some([0])))
    for epoch in epochs:
        _keep(training, work, epoch, flop)
        if _over_after(training, first, last):
            what = "ended" if last == training.recipe.epochs else "the frozen part is trained too"
            training.report.log(f"{what} after epoch {epoch.number}: validation accuracy no longer rises")
            return


def _work(training: Training) -> Work:
    """All of the network on images; or, where a frozen part allows it, the rest of it on kept activations."""
    splits = training.splits
    whole = Work(training.network, training.prepare, splits.train, splits.validation, training.frozen)
    if not training.frozen or training.recipe.augmentation != "none":
        return whole
    disk = Disk(training.settings.data_dir, training.settings.feature_disk_bytes)
    started = time.monotonic()
    kept = keep_activations(whole, training.settings.feature_cache_bytes, disk, _between_activations(training))
    training.features_s += time.monotonic() - started
    if kept is None:
        training.report.log("the activations of the frozen part are too large to keep: it runs for every image")
        return whole
    training.report.log(f"kept {kept.train.images.nbytes / 2**20:.0f} MiB of activations of the frozen part")
    return kept


def _between_activations(training: Training) -> Callable[[int, int], None]:
    """Says now and then how far they are, and ends when the training has to."""
    told = time.monotonic()

    def go_on(done: int, of: int) -> None:
        nonlocal told
        if training.report.stop.is_set():
            raise Interrupted
        if time.monotonic() - told >= ACTIVATIONS_TOLD_EVERY_S:
            training.report.log(f"activations of the frozen part: {done} of {of} images")
            told = time.monotonic()

    return go_on


def choose_best(training: Training, interrupted: bool) -> dict[str, Any]:
    """The network gets the weights of its best epoch, before the one look at the test set; that epoch's metrics."""
    training.report.phase(Phase.EVALUATING, f"{len(training.splits.test)} test images")
    return checkpointing.load_best(training, interrupted)


# -- what people see while it trains


def _show(training: Training, progress: Progress) -> None:
    seconds_of_step = training.recipe.batch_size / progress.images_per_s
    of_epoch = progress.step - (progress.epoch - 1) * progress.steps // training.recipe.epochs
    speed = {"images_per_s": progress.images_per_s}
    here = _progress(training, progress.epoch, progress.step, progress.steps)
    metrics = {
        "train_loss": progress.loss,
        "train_accuracy": progress.accuracy,
        "learning_rate": progress.learning_rate,
    }
    columns = {
        "progress": here,
        "metrics": (training.history[-1] if training.history else {}) | metrics,
        "timing": _timing(training) | {"train_s": _train_s(training) + of_epoch * seconds_of_step} | speed,
        "estimated_finish": time.time() + (progress.steps - progress.step) * seconds_of_step,
    }
    if here["percent"] >= training.told_percent + STEP_EVERY_PERCENT:
        training.told_percent = here["percent"]
        training.report.event("step", here | metrics | speed, **columns)
    else:
        training.report.progress(**columns)


def _keep(training: Training, work: Work, epoch: Epoch, flop: float) -> None:
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
        "flop_per_s": flop * epoch.images_per_s,
        "data_wait_s": epoch.data_wait_s,
        "train_s": _train_s(training) + epoch.seconds,  # training alone, earlier attempts' kept epochs included
        "features_s": training.features_s,  # before the first of them: activations of a frozen part
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
        str(mark): next(
            (m["train_s"] + m["features_s"] for m in history if (m["validation_accuracy"] or 0) >= mark), None
        )
        for mark in ACCURACY_MARKS
    }
    return {
        "queued_s": training.queued_s,
        "preparing_s": report.seconds_in(Phase.STARTING) + report.seconds_in(Phase.PREPARING_DATA),
        "features_s": training.features_s,
        "train_s": _train_s(training),
        "evaluate_s": report.seconds_in(Phase.EVALUATING),
        "data_wait_s": sum(metrics["data_wait_s"] for metrics in history),
        "time_to_accuracy": reached,
        **{name: history[-1][name] for name in ("images_per_s", "flop_per_s") if history},
    }


def _tail(told: str) -> str:
    """The end of a traceback; what is longer than a row should hold is cut between two lines, and says so."""
    if len(told) <= TRACEBACK_TAIL:
        return told
    kept = told[len(TRACEBACK_CUT) - TRACEBACK_TAIL :]
    return TRACEBACK_CUT + (kept.partition("\n")[2] or kept)  # one endless line is cut within


def _record_failure(db: Database, claim: Claim, error: Exception) -> None:
    tail = _tail("".join(traceback.format_exception(error)))
    while True:
        try:
            with db.write() as session:
                return jobs.fail(session, claim, jobs.describe(classify(error), tail), time.time())
        except ClaimLost as lost:
            return log.warning("%s", lost)
        except OperationalError:  # a full disk takes no row either; the worker ends us when that lasts
            log.warning("the failure cannot be written; trying again", exc_info=True)
            time.sleep(RECORD_AGAIN_S)


if __name__ == "__main__":
    sys.exit(main())
