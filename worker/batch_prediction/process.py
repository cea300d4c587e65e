"""Answer a batch: ``python -m worker.batch_prediction.process <batch id> <attempt>``.

The process of one attempt, without torch. It stores the results of a chunk, then counts them in the row. It can be
killed at any moment: the next attempt continues after the last chunk. The kernel kills it when the worker dies. If the
batch was cancelled or claimed by another attempt, its next write raises ClaimLost and ends it.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from core.artifacts.batch_files import write_answers
from core.artifacts.store import ArtifactStore, LocalStore
from core.db.database import Database
from core.db.tables import Batch, Model
from core.errors import (
    ClaimLost,
    Conflict,
    DiskFull,
    InternalFailure,
    InvalidInput,
    JobFailure,
    ModelUnavailable,
    NotAnImage,
    NotFound,
    NotReady,
    OutOfMemory,
    is_disk_full,
)
from core.imaging import preparation
from core.imaging.preparation import Prepared
from core.inference.onnx_predictor import OnnxPredictor, Predictor
from core.inference.prediction import of_answer, of_blank
from core.repositories import batch_predictions
from core.repositories.batch_predictions import Claim
from core.repositories.models import find_whole
from core.settings import Settings
from worker.batch_prediction.inputs import Sent, refused, sent_images
from worker.processes.exit_codes import EXIT_CLAIM_LOST
from worker.processes.launcher import BATCH_LOG
from worker.processes.parent_death import die_with_parent

log = logging.getLogger(__name__)
CHUNK = 64  # images whose results a killed process loses at most
RUN_SIZE = 8  # images that the network takes in one run; of a large one they take seconds and hundreds of MB
DEADLY = "It crashes its decoder, or takes too long: each process that read it was ended."
Line = dict[str, Any]


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    die_with_parent()
    os.nice(settings.train_niceness)
    claim = Claim(sys.argv[1], int(sys.argv[2]))
    db, store = Database(settings.resolved_database_url), LocalStore(settings.data_dir)
    try:
        run(settings, db, store, claim)
    except ClaimLost as lost:
        log.warning("%s", lost)
        return leave(db, store, claim)
    except Exception as error:  # the process's edge: whatever it was, the batch's row says it
        log.exception("the batch failed")
        _record_failure(db, claim, error)
    return 0


def run(
    settings: Settings, db: Database, store: ArtifactStore, claim: Claim, clock: Callable[[], float] = time.time
) -> None:
    """Answer the batch from its last stored result to its end.

    After an attempt that was killed, the chunk that killed it is read one image at a time, so that an image that
    crashes or hangs its decoder gets an error of its own and the others their answers.
    """
    batch, model = _choose_model(db, claim, clock())
    predictor = OnnxPredictor(model, store, settings.resolved_predict_threads)
    heartbeat = _Heartbeat(db, claim, settings.heartbeat_interval_s, clock)
    sent = sent_images(store, batch.key, settings, batch.done)
    done, errors = batch.done, batch.errors
    for some in _grouped(sent, batch, partial(_note, db, claim, clock)):
        lines = answer_all(predictor, batch.options, some, heartbeat)
        if not lines:
            break
        numbered = [json.dumps({"index": index, **line}) for index, line in enumerate(lines, done)]
        write_answers(store, batch.key, done, numbered)
        done, errors = done + len(lines), errors + sum("error" in line for line in lines)
        with db.write() as session:
            batch_predictions.record(session, claim, clock(), done=done, errors=errors)
    if done != batch.total:
        raise InternalFailure(f"{done} images were found, and {batch.total} had been counted.", BATCH_LOG)
    with db.write() as session:
        batch_predictions.succeed(session, claim, clock())


def _grouped(sent: Iterator[Sent], batch: Batch, note: Callable[[int], None]) -> Iterator[Iterator[Sent]]:
    """Yield the images in chunks, without end.

    Images that may kill the process come one by one, each recorded before.
    """
    first, count = batch.done, CHUNK if batch.error else 0
    if batch_predictions.is_deadly(batch):
        yield (refused(one.label, NotAnImage(DEADLY)) for one in islice(sent, 1))
        first, count = first + 1, count - 1
    for index in range(first, first + count):
        note(index)
        yield islice(sent, 1)
    while True:
        yield islice(sent, CHUNK)


def _note(db: Database, claim: Claim, clock: Callable[[], float], index: int) -> None:
    with db.write() as session:
        batch_predictions.record(session, claim, clock(), reading=index)


def answer_all(
    predictor: Predictor, options: dict[str, Any], sent: Iterator[Sent], heartbeat: Callable[[], None] = lambda: None
) -> list[Line]:
    """Return a line for each image: its prediction or its error.

    The lines are in the order of the images.
    """
    named = [(one.label, _prepare(one, predictor, options, heartbeat)) for one in sent]
    readable = [entry.pixels for _, entry in named if isinstance(entry, Prepared) and not entry.blank]
    answers = _predict(predictor, readable, heartbeat)
    return [label | _line(entry, answers, predictor.classes, options["top_k"]) for label, entry in named]


def _prepare(
    sent: Sent, predictor: Predictor, options: dict[str, Any], heartbeat: Callable[[], None]
) -> Prepared | InvalidInput:
    heartbeat()
    try:
        return preparation.prepare(sent.read(), predictor.preparation, options["preprocess"])
    except InvalidInput as error:
        return error


def _predict(
    predictor: Predictor, pixels: Sequence[preparation.Pixels], heartbeat: Callable[[], None]
) -> Iterator[tuple[Any, float | None]]:
    """Yield probabilities and ood_score of each image."""
    for first in range(0, len(pixels), RUN_SIZE):
        heartbeat()
        outputs = predictor.run(np.stack(pixels[first : first + RUN_SIZE]))
        of_each = [None] * len(outputs.probabilities) if outputs.ood_score is None else outputs.ood_score.tolist()
        yield from zip(outputs.probabilities, of_each, strict=True)


def _line(
    entry: Prepared | InvalidInput,
    answers: Iterator[tuple[Any, float | None]],
    classes: tuple[str, ...],
    top_k: int,
) -> Line:
    if isinstance(entry, InvalidInput):
        return {"error": {"code": entry.code, "detail": str(entry)}}
    prediction = of_blank(entry) if entry.blank else of_answer(*next(answers), entry, classes, top_k)
    return prediction.model_dump(exclude_none=True)


def _choose_model(db: Database, claim: Claim, now: float) -> tuple[Batch, Model]:
    """Return the batch and its model.

    The first attempt chooses the model for all later ones.
    """
    with db.write() as session:
        batch = batch_predictions.get(session, claim.batch_id)
        try:
            model = find_whole(session, batch.model_id or batch.options["model"])
        except (NotFound, Conflict, NotReady) as error:
            raise ModelUnavailable(str(error)) from error
        batch_predictions.record(session, claim, now, model_id=model.id)
    return batch, model


class _Heartbeat:
    """Sends heartbeats between images, since a chunk of huge pictures takes long."""

    def __init__(self, db: Database, claim: Claim, every_s: float, clock: Callable[[], float]) -> None:
        self._db = db
        self._claim = claim
        self._every_s = every_s
        self._clock = clock
        self._due = clock() + every_s

    def __call__(self) -> None:
        now = self._clock()
        if now >= self._due:
            self._due = now + self._every_s
            with self._db.write() as session:
                batch_predictions.record(session, self._claim, now)


def leave(db: Database, store: ArtifactStore, claim: Claim) -> int:
    """Leave a batch that this attempt no longer owns.

    Deletes the batch's files if the batch was deleted.
    """
    with db.read() as session:
        try:
            deleted = batch_predictions.get(session, claim.batch_id).files_deleted_at is not None
        except NotFound:
            deleted = True
    if deleted:
        store.delete(batch_predictions.key_of(claim.batch_id))
    return EXIT_CLAIM_LOST


def _record_failure(db: Database, claim: Claim, error: Exception) -> None:
    try:
        with db.write() as session:
            batch_predictions.retry_or_fail(session, claim, _failure(error), time.time())
    except (ClaimLost, NotFound) as lost:
        log.warning("%s", lost)


def _failure(error: Exception) -> JobFailure:
    if isinstance(error, JobFailure):
        return error
    if is_disk_full(error):
        return DiskFull(f"No space is left: {error}")
    if isinstance(error, MemoryError):
        return OutOfMemory(f"Out of memory: {error}")
    return InternalFailure(f"{type(error).__name__}: {error}", BATCH_LOG)


if __name__ == "__main__":
    sys.exit(main())
