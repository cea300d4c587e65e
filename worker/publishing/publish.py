"""Publish a trained network as a model.

Evaluate, fit the OOD score, export, choose the graph that serves, answer the test set, package, one transaction: a
straight line of steps, each of which takes and returns frozen values.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sqlalchemy.orm import Session

from core.artifacts.manifest import write_folder
from core.artifacts.store import ArtifactStore
from core.db.tables import Model, Phase
from core.repositories import events, jobs, models
from worker.attempt.reporter import Reporter
from worker.publishing import graph_selection
from worker.publishing.exported_network import ExportedNetwork, export_graph, fit_ood_score
from worker.publishing.graph_selection import GraphChoice, Served
from worker.publishing.package import Package, pack
from worker.publishing.samples import look_at_samples
from worker.publishing.trained_network import TrainedNetwork
from worker.training import devices

log = logging.getLogger(__name__)
TRAINING_DETECTOR, MAKING_GRAPHS = "training the out-of-distribution detector", "making its graphs"


class Stopwatch:
    """Measures the seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


def publish(trained: TrainedNetwork, report: Reporter, store: ArtifactStore) -> None:
    """Write a model's files, then its row, and end the job.

    Row, aliases and end of the job are one transaction.
    """
    watch = Stopwatch()
    report.phase(Phase.EVALUATING, f"{len(trained.splits.validation)} validation images")
    samples = look_at_samples(trained)
    report.phase(Phase.PUBLISHING, TRAINING_DETECTOR if trained.has_detector else MAKING_GRAPHS)
    with watch.step("ood_s"):
        fitted = fit_ood_score(trained, samples)
    if trained.has_detector:
        report.phase(Phase.PUBLISHING, MAKING_GRAPHS)
    with watch.step("export_s"):
        exported = export_graph(trained, samples, fitted)
    with watch.step("quantize_s"):
        choice = graph_selection.choose(
            exported.graph.onnx, samples.train, samples.validation, exported.fitted.limit_of
        )
    report.log(f"serves in {choice.record['precision']} on a CPU: {choice.record['reason']}")
    with watch.step("test_s"):
        test = answer_test_images(trained, exported, choice)
    with watch.step("package_s"):
        package = pack(trained, samples, exported, choice, test)
        listing = write_folder(store, package.key, package.files, {"id": package.model_id})
    timing = dict(trained.timing) | {
        "evaluate_s": report.seconds_in(Phase.EVALUATING),
        "publish_s": report.seconds_in(Phase.PUBLISHING),
        "publish": watch.seconds,
        "total_s": time.time() - report.started_at,
    }
    end_job(trained.device, package, package.card | {"files": listing, "timing": timing}, report)


def end_job(device: torch.device, package: Package, card: dict[str, Any], report: Reporter) -> None:
    """Write the model's row and end the job, in one transaction.

    While the database is away it is tried again: hours of training are not lost to its restart.
    """
    now = time.time()

    def write(session: Session) -> None:
        if session.get(Model, package.model_id) is not None:
            return  # it was committed, and only the database's answer was lost
        model = models.publish(session, package.model_id, report.claim.job_id, package.key, card, now)
        outcome = "serves" if model.card["publication"]["serving"] else "does not serve"
        message = {"message": f"{model.name}/{model.version} {outcome}: {model.card['publication']['reason']}"}
        events.append(session, report.claim.job_id, "log", message, now, report.claim.attempt)
        jobs.succeed(
            session,
            report.claim,
            package.model_id,
            now,
            metrics=card["metrics"] | {"test": card["test"]},
            timing=card["timing"],
            device=devices.describe(device),
            phases=report.ended_phases(),
            estimated_finish=None,
        )

    report.write(write)
    log.info("published %s: test accuracy %.4f", package.model_id, card["metrics"]["test_accuracy"])


def answer_test_images(trained: TrainedNetwork, exported: ExportedNetwork, choice: GraphChoice) -> Served:
    """Answer each test image once, with what serves on this device."""
    if trained.device.type == "cpu":
        engine = graph_selection.graph_engine(graph_selection.session(choice.graph))
    else:
        engine = graph_selection.network_engine(trained.preparation, trained.network, exported.fitted.ood_scorer)
    return graph_selection.serve(engine, trained.splits.test)
