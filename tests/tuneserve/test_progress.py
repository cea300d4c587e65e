"""tuneserve.progress: a job in one line."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.fakes import result_of
from tuneserve.progress import line, result, show
from tuneserve.terminal import Console
from tuneserve.types import Job

PROGRESS = {"epoch": 2, "epochs": 6, "step": 30, "steps": 90, "percent": 33.3}
METRICS = {"train_loss": 0.1234, "train_accuracy": 0.987}


def job(**fields: Any) -> Job:
    empty: dict[str, Any] = {
        "status": "queued",
        "phase": None,
        "phases": [],
        "progress": {},
        "metrics": {},
        "timing": {},
        "estimated_finish": None,
        "error": None,
    }
    return Job(empty | fields)


def training(**fields: Any) -> Job:
    known = {"progress": PROGRESS, "metrics": METRICS, "timing": {"images_per_s": 812.4}}
    return job(**({"status": "running", "phase": "training"} | known | fields))


def succeeded() -> Job:
    timing = {"train_s": 12.34, "total_s": 20.0}
    return job(status="succeeded", metrics={"test": result_of(0.9712)}, timing=timing, progress=PROGRESS)


def shown(jobs: list[Job], terminal: bool) -> tuple[Job, str]:
    output = io.StringIO()
    last = show(jobs, Console(file=output, force_terminal=terminal, width=120))
    return last, output.getvalue()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (job(), "queued"),
        (job(status="cancelling", phase="training"), "cancelling"),
        (job(status="running"), "starting"),
        (job(status="running", phase="preparing_data"), "preparing data"),
        (job(status="running", phase="training"), "training"),
        (training(), "epoch 2/6  step 30/90  loss 0.123  accuracy 98.7%  812 images/s"),
        (training(phase="evaluating"), "evaluating"),
        (
            training(phase="evaluating", phases=[{"message": ""}, {"message": "360 test images"}]),
            "evaluating: 360 test images",
        ),
    ],
)
def test_each_state_is_one_line(state: Job, words: str) -> None:
    assert line(state) == words


def test_the_time_left_is_told_when_it_is_known_and_is_never_negative() -> None:
    ahead = datetime.now(UTC) + timedelta(days=1)
    assert line(training(estimated_finish=ahead.isoformat())).split("  ")[-1].startswith("86")
    assert line(training(estimated_finish="2020-01-01T00:00:00Z")).endswith("  0 s left")


def test_what_became_of_a_job_is_told() -> None:
    assert result(succeeded()) == "test accuracy 97.12% (9712 of 10000; 96.1-98.1%), trained in 12.3 s (20.0 s in all)"
    error = {"code": "killed", "message": "By SIGKILL.", "hint": "Lower batch_size."}
    assert result(job(status="failed", error=error)) == "failed: killed: By SIGKILL.\nLower batch_size."
    assert result(job(status="cancelled")) == "cancelled"


def test_without_a_terminal_what_does_not_change_is_told_once() -> None:
    states = [job(), job(), job(status="running"), training(), training(), succeeded()]
    last, text = shown(states, terminal=False)
    assert last.status == "succeeded"
    assert text.splitlines() == ["queued", "starting", line(training()), "succeeded"]


def test_without_a_terminal_a_step_alone_is_no_new_line() -> None:
    _, text = shown([training(), training(progress=PROGRESS | {"step": 31})], terminal=False)
    assert text.count("\n") == 1


def test_at_a_terminal_a_bar_moves() -> None:
    last, text = shown([job(), training(), succeeded()], terminal=True)
    assert last.status == "succeeded"
    assert "\x1b[" in text
