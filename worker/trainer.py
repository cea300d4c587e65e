"""Train one attempt of a job: ``python -m worker.trainer <job id> <attempt>``.

It reads the recipe, trains, writes checkpoints and events, publishes the model and ends the job. When it dies, the
worker's loop notices; when the worker dies, the kernel kills it; when it has lost the job, its heartbeat ends it.
Without arguments it is a prewarmed trainer, which gets them later (worker.processes.prewarmed_trainer).
"""

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator

import torch

from core import tracing
from core.artifacts.store import ArtifactStore, LocalStore
from core.db.database import UNAVAILABLE, Database
from core.db.tables import Phase
from core.errors import ClaimLost
from core.inference.network import build
from core.networks import EFFICIENTNET_LITE0
from core.repositories import jobs
from core.repositories.jobs import Claim
from core.settings import Settings
from worker.attempt import checkpointing, oom_backoff
from worker.attempt.progress import timing
from worker.attempt.reporter import Listener, Reporter
from worker.attempt.setup import TrainingContext, TrainingState, set_up
from worker.attempt.stages import train
from worker.integrations import mlflow_runs, tensorboard
from worker.processes.exit_codes import EXIT_CLAIM_LOST, EXIT_INTERRUPTED
from worker.processes.parent_death import die_with_parent
from worker.processes.prewarmed_trainer import wait_for_claim
from worker.publishing.publish import publish
from worker.publishing.trained_network import TrainedNetwork
from worker.training.failure_codes import classify
from worker.training.fit import Interrupted

log = logging.getLogger(__name__)
TRACEBACK_TAIL = 4_000  # characters
TRACEBACK_CUT = "Traceback (its last lines):\n"
RETRY_S = 0.2


def main() -> int:
    """Train one attempt; returns the exit code.

    The arguments name it, or the worker assigns it later.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    die_with_parent()
    os.nice(settings.train_niceness)
    claim = Claim(sys.argv[1], int(sys.argv[2])) if sys.argv[1:] else _wait_warm(settings)
    if claim is None:
        return 0
    db = Database(settings.resolved_database_url)
    report = Reporter(db, claim, settings.heartbeat_interval_s)
    report.listeners.extend(integrations(settings, claim))
    signal.signal(signal.SIGTERM, lambda *_: report.stop.set())
    report.start_heartbeat()
    code = _attempt(settings, db, report)
    report.ended()
    db.close()
    return code


def _wait_warm(settings: Settings) -> Claim | None:
    """Import what one network alone needs, then wait for a job."""
    with torch.device("meta"):
        build(EFFICIENTNET_LITE0, 2)
    return wait_for_claim(settings)


def integrations(settings: Settings, claim: Claim) -> Iterator[Listener]:
    """Yield a callback for each integration that is installed and configured."""
    if tensorboard.is_installed():
        yield tensorboard.TensorBoardWriter(settings.data_dir, claim.job_id)
    if mlflow_runs.is_on():
        yield mlflow_runs.MlflowLogger(claim)
    if tracing.is_on():
        from worker.integrations.tracing import JobIdGenerator, JobTrace

        yield JobTrace(claim, tracing.provider("trainer", JobIdGenerator(claim)))


def _attempt(settings: Settings, db: Database, report: Reporter) -> int:
    """Run the attempt; returns the exit code.

    A failure goes into the job's row.
    """
    try:
        run(settings, db, LocalStore(settings.data_dir), report)
    except Interrupted:
        log.info("interrupted")
        return EXIT_INTERRUPTED
    except ClaimLost as lost:
        log.warning("%s", lost)
        return EXIT_CLAIM_LOST
    except Exception as error:  # the process's edge: whatever failed, the job's row says it
        log.exception("the job failed")
        _record_failure(db, report.claim, error)
    return 0


def run(settings: Settings, db: Database, store: ArtifactStore, report: Reporter) -> None:
    """Train one attempt of a job and publish its model."""
    report.phase(Phase.STARTING)
    context, state = set_up(settings, db, store, report)
    state = checkpointing.resume(context, state)
    state = oom_backoff.halve_after_oom_kills(context, state)
    state = train(context, state)
    if state.interrupted and not (report.keeps and state.history):
        raise Interrupted
    publish(_trained(context, state), report, store)


def _trained(context: TrainingContext, state: TrainingState) -> TrainedNetwork:
    """Load the best epoch's weights and gather what makes a model."""
    best = checkpointing.load_best(context, state)
    return TrainedNetwork(
        network=context.network,
        prepare=context.prepare,
        preparation=context.preparation,
        splits=context.splits,
        classes=context.dataset.classes,
        detail=context.dataset.detail,
        recipe=state.recipe,
        device=context.device,
        best=best,
        history=checkpointing.describe(context, state),
        timing=timing(context, state),
        kept=state.kept,
    )


def _tail(text: str) -> str:
    """Cut a traceback to its last TRACEBACK_TAIL characters.

    It is cut between two lines, and says so.
    """
    if len(text) <= TRACEBACK_TAIL:
        return text
    kept = text[len(TRACEBACK_CUT) - TRACEBACK_TAIL :]
    return TRACEBACK_CUT + (kept.partition("\n")[2] or kept)  # a single long line is cut within


def _record_failure(db: Database, claim: Claim, error: Exception) -> None:
    tail = _tail("".join(traceback.format_exception(error)))
    while True:
        try:
            with db.write() as session:
                return jobs.fail(session, claim, jobs.describe(classify(error), tail), time.time())
        except ClaimLost as lost:
            return log.warning("%s", lost)
        except UNAVAILABLE:  # a full disk takes no row either; if it stays full, the worker ends us
            log.warning("the failure cannot be written; trying again", exc_info=True)
            time.sleep(RETRY_S)


if __name__ == "__main__":
    sys.exit(main())
