"""Starts the process that trains one attempt. Imports no torch: the loop must start at once."""

import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, Protocol

from core.errors import DiskFull, InternalFailure, JobFailure, is_disk_full
from core.repositories import batch_predictions
from core.repositories.jobs import Claim
from core.settings import Settings
from worker.processes.parent_death import WORKER_PID

BATCH_LOG = "See the attempt's log beside the batch, in TUNESERVE_DATA_DIR/batches."


class Process(Protocol):
    """What the loop needs of a running attempt: subprocess.Popen has it, and so has a fake."""

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class Launcher(Protocol):
    def __call__(self, claim: Claim, settings: Settings) -> Process: ...


def start_trainer(claim: Claim, settings: Settings) -> Process:
    """A process of its own, in a session of its own: a Ctrl-C at the terminal is the loop's to handle."""
    log = settings.log_path(claim.job_id, claim.attempt)
    return _start("worker.trainer", claim.job_id, claim.attempt, log, settings)


def start_batch(claim: batch_predictions.Claim, settings: Settings) -> Process:
    """The same for a batch of predictions; its log lies beside its images."""
    log = settings.data_dir / batch_predictions.key_of(claim.batch_id) / "logs" / f"attempt-{claim.attempt:03d}.log"
    return _start("worker.batch_prediction.process", claim.batch_id, claim.attempt, log, settings)


def start_export(model_id: str, settings: Settings) -> Process:
    """The same for a model's program; all of them write into one log."""
    log = settings.data_dir / "logs" / "exports.log"
    return _run("worker.publishing.torch_export", [model_id, "--keep"], log, settings)


def open_log(log: Path) -> BinaryIO:
    """To add to it, never to cut it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("ab")


def not_started(error: OSError) -> JobFailure:
    """What this says of a process that could not even be started."""
    return (DiskFull if is_disk_full(error) else InternalFailure)(f"Its process could not be started: {error}")


def environment(settings: Settings) -> dict[str, str]:
    """Of a process that sees exactly our settings, and dies with us."""
    return os.environ | settings.environment() | {WORKER_PID: str(os.getpid())}


def _start(module: str, of: str, attempt: int, log: Path, settings: Settings) -> Process:
    return _run(module, [of, str(attempt)], log, settings)


def _run(module: str, arguments: list[str], log: Path, settings: Settings) -> Process:
    with open_log(log) as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
