"""worker.integrations.tensorboard: a job's curves as TensorBoard's own reader sees them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.db.database import Database
from core.repositories.jobs import Claim
from tests.conftest import missing
from worker.attempt.reporter import Reporter
from worker.integrations.tensorboard import TAGS, TensorBoardWriter, is_installed


@pytest.fixture(autouse=True)
def _installed() -> None:
    if not is_installed():
        missing("needs the extra tensorboard")


def epoch(number: int, **more: float | None) -> dict[str, Any]:
    return dict.fromkeys(TAGS, 0.5) | {"epoch": number, "train_s": 3.0, **more}


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read each curve by its tag: steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(point.step, point.value) for point in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_each_metric_is_a_curve_with_a_point_an_epoch(tmp_path: Path) -> None:
    board = TensorBoardWriter(tmp_path, "job_1")
    for number in (1, 2):
        board("metrics", epoch(number, train_loss=1 / number))
    read = curves(tmp_path / "jobs" / "job_1" / "tensorboard")
    assert set(read) == set(TAGS.values())
    assert read["loss/train"] == [(1, 1.0), (2, 0.5)]


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    TensorBoardWriter(tmp_path, "job_1")("metrics", epoch(1, validation_loss=None))
    assert "loss/validation" not in curves(tmp_path / "jobs" / "job_1" / "tensorboard")


def test_an_epoch_that_a_later_attempt_repeats_counts_once(tmp_path: Path) -> None:
    died, went_on = TensorBoardWriter(tmp_path, "job_1"), TensorBoardWriter(tmp_path, "job_1")
    for number in (1, 2, 3):
        died("metrics", epoch(number, train_loss=4.0))
    went_on("metrics", epoch(2, train_loss=2.0))
    assert curves(tmp_path / "jobs" / "job_1" / "tensorboard")["loss/train"] == [(1, 4.0), (2, 2.0)]


def test_it_hears_of_the_events_that_were_written(tmp_path: Path, db: Database, claimed: Callable[..., Claim]) -> None:
    claim = claimed()
    report = Reporter(db, claim, heartbeat_interval_s=1)
    report.listeners.append(TensorBoardWriter(tmp_path, claim.job_id))
    report.event("metrics", epoch(1))
    report.log("a line")
    (folder,) = tmp_path.glob("jobs/*/tensorboard")
    assert folder.parent.name == claim.job_id
    assert curves(folder)["accuracy/train"] == [(1, 0.5)]
