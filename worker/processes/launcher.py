"""Start the worker's child processes.

Imports no torch, for a fast start of the loop.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, Protocol

from core.checkups.queue import Claim as CheckupClaim
from core.errors import DiskFull, InternalFailure, JobFailure, is_disk_full
from core.repositories import batch_predictions
from core.repositories.jobs import Claim
from core.settings import Settings
from worker.processes.parent_death import WORKER_PID

BATCH_LOG = "See the attempt's log beside the batch, in TUNESERVE_DATA_DIR/batches."
CHECKUP_LOG = "See TUNESERVE_DATA_DIR/logs/checkups.log."
# for about as long as falling asleep and waking take, libgomp's threads spin before they sleep; its default is 300,000
SHORT_SPIN = {"GOMP_SPINCOUNT": "1000"}


class Process(Protocol):
    """The part of subprocess.Popen that the loop uses.

    Tests can replace it.
    """

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class Launcher(Protocol):
    def __call__(self, claim: Claim, settings: Settings) -> Process: ...


def start_trainer(claim: Claim, settings: Settings) -> Process:
    """Start the trainer of an attempt, in its own session.

    So Ctrl-C at the terminal reaches the loop alone.
    """
    log = settings.log_path(claim.job_id, claim.attempt)
    return _start("worker.trainer", claim.job_id, claim.attempt, log, settings)


def start_batch(claim: batch_predictions.Claim, settings: Settings) -> Process:
    """Start the process of a batch prediction.

    Its log lies beside the images.
    """
    log = settings.data_dir / batch_predictions.key_of(claim.batch_id) / "logs" / f"attempt-{claim.attempt:03d}.log"
    return _start("worker.batch_prediction.process", claim.batch_id, claim.attempt, log, settings)


def start_export(model_id: str, settings: Settings) -> Process:
    """Start the process that exports a model's program.

    All exports share one log.
    """
    log = settings.data_dir / "logs" / "exports.log"
    return _run("worker.publishing.torch_export", [model_id, "--keep"], log, settings)


def start_checkup(claim: CheckupClaim, settings: Settings) -> Process:
    """Start the process that checks a data set.

    All check-ups share one log.
    """
    log = settings.data_dir / "logs" / "checkups.log"
    return _run("worker.checkup.process", [claim.dataset, str(claim.version), str(claim.attempt)], log, settings)


def open_log(log: Path) -> BinaryIO:
    """Open a log for appending."""
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("ab")


def not_started(error: OSError) -> JobFailure:
    """Build the failure of a process that could not be started."""
    return (DiskFull if is_disk_full(error) else InternalFailure)(f"Its process could not be started: {error}")


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a child process.

    It is ours, with our settings and our process id. Unless ours says otherwise, OpenMP's threads soon sleep when they
    wait for each other: one that spins takes the processor from those it waits for, where anything else runs too.
    """
    return SHORT_SPIN | os.environ | settings.environment() | {WORKER_PID: str(os.getpid())}


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
