"""Live progress of a job, as a bar or as lines.

A bar at a terminal, plain lines elsewhere.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from rich.progress import BarColumn, Progress, TextColumn

from tuneserve.terminal import Console
from tuneserve.types import Job, TestResult

LINE_EVERY_S = 3.0


def show(jobs: Iterable[Job], console: Console) -> Job:
    """Show each state of the job and return the last one."""
    return _bar(jobs, console) if console.is_terminal else _lines(jobs, console)


def line(job: Job) -> str:
    """Format a job's progress as one line.

    It has epoch, step, loss, accuracy, images/s and time left. Unknown values are omitted; in a phase without steps,
    the line holds its message.
    """
    if job["status"] != "running":
        return str(job["status"])
    if job["phase"] != "training" or not job["progress"]:
        about = job["phases"][-1]["message"] if job["phases"] else ""
        return ": ".join(filter(None, (str(job["phase"] or "starting").replace("_", " "), about)))
    progress, metrics, timing = job["progress"], job["metrics"], job["timing"]
    parts = [f"epoch {progress['epoch']}/{progress['epochs']}", f"step {progress['step']}/{progress['steps']}"]
    parts += [f"loss {metrics['train_loss']:.3f}", f"accuracy {metrics['train_accuracy']:.1%}"]
    parts += [f"{timing['images_per_s']:.0f} images/s"]
    if job["estimated_finish"]:
        parts.append(f"{_seconds_left(job['estimated_finish']):.0f} s left")
    return "  ".join(parts)


def result(job: Job) -> str:
    """Format the result of an ended job."""
    if job["status"] == "succeeded":
        test, timing = accuracy(job["metrics"]["test"]), job["timing"]
        return f"test accuracy {test}, trained in {timing['train_s']:.1f} s ({timing['total_s']:.1f} s in all)"
    if job["error"]:
        return f"failed: {job['error']['code']}: {job['error']['message']}\n{job['error']['hint']}"
    return str(job["status"])


def accuracy(test: TestResult) -> str:
    """Format an accuracy with its count and its 95% interval."""
    correct, images = test["correct"], test["images"]
    return f"{correct / images:.2%} ({correct} of {images}; {100 * test['low']:.1f}-{test['high']:.1%})"


def _bar(jobs: Iterable[Job], console: Console) -> Job:
    columns = (BarColumn(30), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("waiting", total=100)
        for job in jobs:
            bar.update(task, completed=job["progress"].get("percent", 0), description=line(job))
    return job


def _lines(jobs: Iterable[Job], console: Console) -> Job:
    """Print a line on each new phase and at intervals in training."""
    shown, was_doing, shown_at = "", "", 0.0
    for job in jobs:
        text, doing, now = line(job), f"{job['status']} {job['phase']}", time.monotonic()
        if doing != was_doing or (text != shown and now - shown_at > LINE_EVERY_S):
            console.print(text, soft_wrap=True, highlight=False)
            shown, was_doing, shown_at = text, doing, now
    return job


def _seconds_left(estimated_finish: str) -> float:
    return max(0.0, (datetime.fromisoformat(estimated_finish) - datetime.now(UTC)).total_seconds())
