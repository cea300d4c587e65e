"""A trained network becomes a model: its files, its row, its aliases and the end of its job."""

import logging
import time
from typing import Any

from core import jobs, models
from core.checkpoints import from_tensors, to_json, write_folder
from core.network import to_arrays
from core.tables import Phase
from worker import checkpointing, devices, serving
from worker.calibrate import Calibration, calibrate
from worker.evaluate import Answers, score
from worker.export import PARITY_IMAGES, export
from worker.flops import flop_per_image
from worker.model_report import REPORT, model_report
from worker.probes import COUNT, PROBES, probes
from worker.serving import MODEL, SERVING, Serving
from worker.setup import Training

log = logging.getLogger(__name__)
WEIGHTS, CARD = "weights.safetensors", "model.json"


def publish(
    training: Training, best: dict[str, Any], timing: dict[str, Any], validation: Answers, test: Answers
) -> None:
    """Bytes, then one transaction: the model's row, its aliases, and the end of the job.

    ``best``: metrics of the epoch whose weights the network has. ``validation`` and ``test``: its answers.
    """
    report = training.report
    report.phase(Phase.PUBLISHING)
    calibration = calibrate(validation, test)
    onnx, parity = export(training.network, training.preparation, training.splits.test.some(_first(training)))
    chosen = _serving(training, onnx, test)
    model_id = f"model_{report.claim.job_id.removeprefix('job_')}_{report.claim.attempt}"
    card = _card(training, model_id, best, timing, calibration, test) | {"parity": parity, "serving": chosen.record}
    key = f"models/{model_id}"
    files = _files(training, onnx, chosen, card, calibration, test)
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
            metrics=card["metrics"],
            timing=timing,
            device=devices.describe(training.device),
            phases=report.ended_phases(),
            estimated_finish=None,
        )
    log.info("published %s: test accuracy %.4f", model_id, card["metrics"]["test_accuracy"])


def _card(
    training: Training,
    model_id: str,
    best: dict[str, Any],
    timing: dict[str, Any],
    calibration: Calibration,
    test: Answers,
) -> dict[str, Any]:
    evaluation = score(test)
    return checkpointing.describe(training) | {
        "id": model_id,
        "network": training.recipe.network,
        "best_epoch": best["epoch"],
        "metrics": best | {"test_loss": evaluation.loss, "test_accuracy": evaluation.accuracy},
        "timing": timing,
        "confusion": evaluation.confusion,
        "per_class": evaluation.per_class(training.dataset.classes),
        "calibration": calibration.summary(),
    }


def _serving(training: Training, onnx: bytes, test: Answers) -> Serving:
    splits = training.splits
    flop = flop_per_image(training.network, training.prepare(splits.test.some([0])))
    chosen = serving.choose(onnx, splits.train, splits.test, test, flop)
    training.report.log(f"serves in {chosen.record['precision']} on a CPU: {chosen.record['reason']}")
    return chosen


def _files(
    training: Training, onnx: bytes, chosen: Serving, card: dict[str, Any], calibration: Calibration, test: Answers
) -> dict[str, bytes]:
    served = chosen.graph or onnx
    return {
        WEIGHTS: from_tensors(to_arrays(training.network)),
        MODEL: onnx,
        **({SERVING: chosen.graph} if chosen.graph else {}),
        PROBES: probes(served, training.splits.test.spread(COUNT), calibration.temperature),
        REPORT: to_json(model_report(card, calibration, test, training.splits)),
        CARD: to_json(card),
    }


def _first(training: Training) -> range:
    return range(min(PARITY_IMAGES, len(training.splits.test)))
