"""Check a data set: ``python -m worker.checkup.process <data set> <version> <attempt>``.

The process of one attempt. It keeps the features of each block of images, then reports; it can be killed at any moment:
the next attempt takes up what was kept. The kernel kills it when the worker dies. If the data set was changed or
deleted, or a job to train has come first, its next write raises ClaimLost and ends it.
"""

import logging
import os
import sys
import time
from collections.abc import Callable

import torch

from core.checkups import queue
from core.checkups.queue import Claim
from core.cpus import cpus
from core.db.database import Database
from core.errors import ClaimLost, TuneserveError
from core.repositories import datasets
from core.settings import Settings
from worker.checkup.embeddings import embed, kind
from worker.checkup.feature_files import FeatureFiles
from worker.checkup.images import of_version
from worker.checkup.report import report
from worker.processes.exit_codes import EXIT_CLAIM_LOST
from worker.processes.parent_death import die_with_parent

log = logging.getLogger(__name__)
NICENESS = 19  # answers and trainings come first


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    die_with_parent()
    os.nice(NICENESS)
    torch.set_num_threads(cpus())
    claim = Claim(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    db = Database(settings.resolved_database_url)
    try:
        run(settings, db, claim)
    except ClaimLost as lost:
        log.warning("%s", lost)
        return EXIT_CLAIM_LOST
    except Exception as error:  # the process's edge: whatever it was, the row says it
        log.exception("the check-up failed")
        _record_failure(db, claim, error)
    return 0


def run(settings: Settings, db: Database, claim: Claim, clock: Callable[[], float] = time.time) -> None:
    """Check the data set and record what was found."""

    def heartbeat(**columns: int) -> None:
        with db.write() as session:
            queue.record(session, claim, clock(), **columns)

    with db.read() as session:
        images = datasets.images(session, claim.dataset, claim.version)
    checked = of_version(claim.dataset, images, settings)
    files = FeatureFiles(settings.dataset_files_dir / claim.dataset, kind(checked.side))
    features = embed(checked, files, lambda done: heartbeat(images=done))
    found = report(checked, features, heartbeat)
    with db.write() as session:
        queue.succeed(session, claim, found.model_dump(mode="json"), clock())


def _record_failure(db: Database, claim: Claim, error: Exception) -> None:
    is_ours = isinstance(error, TuneserveError)
    try:
        with db.write() as session:
            queue.fail(session, claim, str(error) if is_ours else f"{type(error).__name__}: {error}", time.time())
    except ClaimLost as lost:
        log.warning("%s", lost)


if __name__ == "__main__":
    sys.exit(main())
