"""A trainer process that has imported everything and waits for a job.

This module imports no torch, for the loop.

It is the trainer's own program, started without a job: the claim comes as a line on its standard input. The pipe closes
when the worker dies, which ends the process. Until it has a job it touches neither database nor device.
"""

import os
import subprocess
import sys

from core.repositories.jobs import Claim
from core.settings import Settings
from worker.processes.launcher import Process, environment, open_log, start_trainer


class PrewarmedTrainer:
    """Keep one prewarmed trainer while no job trains.

    While a job trains it would take that job's processor and memory.

    Call ``warm_up`` again and again while no job waits, ``launch`` for a claimed job, ``close`` when the worker ends.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def warm_up(self) -> None:
        """Start the process unless there is one.

        After its death only the next job starts another.
        """
        if self._settings.prewarm_trainer and self._process is None:
            self._process = _start(self._settings)

    def launch(self, claim: Claim, settings: Settings) -> Process:
        """Hand the claim to the prewarmed trainer, or start a new process.

        The prewarmed trainer gets it even if it still imports.
        """
        process, self._process = self._process, None
        if process is not None and _hand_over(process, claim):
            return process
        return start_trainer(claim, settings)

    def close(self) -> None:
        if self._process is not None:
            _end(self._process)
            self._process = None


def wait_for_claim(settings: Settings) -> Claim | None:
    """Wait for a claim on standard input; None if the worker died.

    From then on the process prints into the job's log.
    """
    words = sys.stdin.readline().split()
    if len(words) != 2:  # the worker has gone, perhaps while it wrote
        return None
    claim = Claim(words[0], int(words[1]))
    with open_log(settings.log_path(claim.job_id, claim.attempt)) as log:
        for output in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), output.fileno())
    return claim


def _start(settings: Settings) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "worker.trainer"],
        env=environment(settings),
        stdin=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )


def _hand_over(process: subprocess.Popen[bytes], claim: Claim) -> bool:
    """Write the claim to the process; False if it has died."""
    assert process.stdin is not None
    if process.poll() is None:
        try:
            with process.stdin as pipe:
                pipe.write(f"{claim.job_id} {claim.attempt}\n".encode())
            return True
        except BrokenPipeError:  # it died just now
            pass
    _end(process)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # it holds nothing
    process.communicate()
