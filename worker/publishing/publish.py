"""A trained network becomes a model: its files, its row, its aliases and the end of its job."""

import logging
import time
from typing import Any

from core import ids
from core.artifacts.manifest import from_tensors, to_json, to_tensors, write_folder
from core.artifacts.model_files import CARD, FP32_GRAPH, INT8_GRAPH, OOD_SCORE, REPORT, SELF_TEST_SAMPLES, WEIGHTS
from core.db.tables import Phase
from core.inference.network import to_arrays
from core.inference.ood_score import Detector
from core.repositories import jobs, models
from worker.attempt import checkpointing
from worker.attempt.setup import TrainingContext, TrainingState
from worker.data.splits import Part
from worker.evaluation.metrics import Answers, score
from worker.evaluation.report import model_report
from worker.evaluation.temperature_scaling import Calibration, calibrate, expected_error, reliability
from worker.ood import fitting
from worker.ood.detector_training import can_teach
from worker.ood.fitting import Fitted
from worker.publishing import graph_selection
from worker.publishing.graph_selection import Serving
from worker.publishing.onnx_export import PARITY_IMAGES, check, export, filled
from worker.publishing.self_test_samples import COUNT, probes
from worker.taught import taught
from worker.training import devices
from worker.training.flops import flop_per_image

log = logging.getLogger(__name__)
STRANGENESS_TOLERANCE = 0.05  # a share of the threshold, or of the strangeness where that is more


def publish(
    context: TrainingContext,
    state: TrainingState,
    best: dict[str, Any],
    timing: dict[str, Any],
    validation: Answers,
    test: Answers,
) -> None:
    """Bytes, then one transaction: the model's row, its aliases, and the end of the job.

    ``best``: metrics of the epoch whose weights the network has. ``validation`` and ``test``: its answers.
    """
    report = context.report
    report.phase(Phase.PUBLISHING)
    calibration = calibrate(validation, test)
    flop = flop_per_image(context.network, context.prepare(context.splits.test.some([0])))
    onnx, parity, fitted = _graph(context, state, flop)
    weights = from_tensors(to_arrays(context.network))
    parity["weights_largest_difference"] = _check(context, state, weights, onnx)
    chosen = _serving(context, onnx, test, fitted, flop)
    model_id = ids.model_id(report.claim.job_id, report.claim.attempt)
    card = _card(context, state, model_id, best, timing, calibration, test) | {
        "parity": parity,
        "serving": chosen.record,
        "familiarity": fitted.record,
    }
    card["calibration"]["ece_served"] = expected_error(reliability(chosen.tested.answers, calibration.temperature))
    key = f"models/{model_id}"
    files = _files(context, weights, onnx, chosen, card, calibration, test) | _strangeness(fitted)
    card["files"] = write_folder(context.store, key, files, {"id": model_id})
    timing |= {"publish_s": report.seconds_in(Phase.PUBLISHING), "total_s": time.time() - report.started_at}
    now = time.time()
    with context.db.write() as session:
        models.publish(session, model_id, report.claim.job_id, key, card, now)
        jobs.succeed(
            session,
            report.claim,
            model_id,
            now,
            metrics=card["metrics"],
            timing=timing,
            device=devices.describe(context.device),
            phases=report.ended_phases(),
            estimated_finish=None,
        )
    log.info("published %s: test accuracy %.4f", model_id, card["metrics"]["test_accuracy"])


def _card(
    context: TrainingContext,
    state: TrainingState,
    model_id: str,
    best: dict[str, Any],
    timing: dict[str, Any],
    calibration: Calibration,
    test: Answers,
) -> dict[str, Any]:
    evaluation = score(test)
    return checkpointing.describe(context, state) | {
        "id": model_id,
        "network": state.recipe.network,
        "best_epoch": best["epoch"],
        "metrics": best | {"test_loss": evaluation.loss, "test_accuracy": evaluation.accuracy},
        "timing": timing,
        "confusion_matrix": evaluation.confusion_matrix,
        "per_class": evaluation.per_class(context.dataset.classes),
        "calibration": calibration.summary(),
    }


def _graph(context: TrainingContext, state: TrainingState, flop: float) -> tuple[bytes, dict[str, Any], Fitted]:
    """In fp32; it tells strangeness where that could be fitted and exported."""
    enlarged = context.dataset.detail < context.preparation.height
    fitted = fitting.fit(
        context.network, context.prepare, context.splits, flop, enlarged, _detector(context, state, enlarged)
    )
    images = context.splits.test.some(range(min(PARITY_IMAGES, len(context.splits.test))))
    onnx, parity = export(context.network, context.preparation, images, fitted.familiarity)
    difference = parity.get("strangeness_largest_difference", 0.0)
    if difference <= STRANGENESS_TOLERANCE:
        return onnx, parity, fitted
    onnx, parity = export(context.network, context.preparation, images)
    return onnx, parity, fitting.unfitted(f"the exported graph differs from the network by {difference:.2g} in it")


def _detector(context: TrainingContext, state: TrainingState, enlarged: bool) -> Detector | None:
    train, recipe = context.splits.train, state.recipe
    if not can_teach(train, context.preparation.style, enlarged):
        return None
    context.report.phase(Phase.PUBLISHING, "learning what is strange, up to a minute")
    made = taught(context.store, train, context.dataset.classes, recipe.seed, recipe.precision)
    context.report.phase(Phase.PUBLISHING, "making its graphs")
    return made


def _check(context: TrainingContext, state: TrainingState, weights: bytes, onnx: bytes) -> float:
    """The file of weights, read as anybody would, answers the images of the probes as the graph does."""
    stored = filled(to_tensors(weights), state.recipe.network, len(context.dataset.classes), context.preparation)
    return check(stored, onnx, context.splits.test.spread(COUNT))


def _serving(context: TrainingContext, onnx: bytes, test: Answers, fitted: Fitted, flop: float) -> Serving:
    splits = context.splits
    chosen = graph_selection.choose(onnx, splits.train, splits.test, test, flop)
    if fitted.familiarity and chosen.tested.strangeness is not None:
        _measure_strangeness(chosen, chosen.graph or onnx, fitted, splits.validation, flop)
    context.report.log(f"serves in {chosen.record['precision']} on a CPU: {chosen.record['reason']}")
    return chosen


def _measure_strangeness(chosen: Serving, graph: bytes, fitted: Fitted, validation: Part, flop: float) -> None:
    """Of the graph that serves: its threshold, since in int8 all images look somewhat stranger, and what that costs."""
    assert chosen.tested.strangeness is not None
    scores = graph_selection.strangeness(graph, validation.spread(fitting.images_to_look_at(flop)))
    limit = fitted.record["threshold"]
    if chosen.graph:
        limit = chosen.record["strangeness_threshold"] = fitting.threshold(scores)
    fitted.record.update(fitting.abstained(scores, chosen.tested.strangeness, limit))


def _files(
    context: TrainingContext,
    weights: bytes,
    onnx: bytes,
    chosen: Serving,
    card: dict[str, Any],
    calibration: Calibration,
    test: Answers,
) -> dict[str, bytes]:
    served, threshold = chosen.graph or onnx, chosen.record.get("strangeness_threshold", 1.0)
    return {
        WEIGHTS: weights,
        FP32_GRAPH: onnx,
        **({INT8_GRAPH: chosen.graph} if chosen.graph else {}),
        SELF_TEST_SAMPLES: probes(served, context.splits.test.spread(COUNT), calibration.temperature, threshold),
        REPORT: to_json(model_report(card, calibration, test, context.splits)),
        CARD: to_json(card),
    }


def _strangeness(fitted: Fitted) -> dict[str, bytes]:
    return {OOD_SCORE: from_tensors(to_arrays(fitted.familiarity))} if fitted.familiarity else {}
