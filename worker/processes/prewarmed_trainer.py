"""A trainer that waits for its job with all it needs imported: both ends of its pipe. Imports no torch, for the loop.

It is the trainer's own program, started without a job: that comes as a line on its standard input, whose end closes
when the worker dies, however it dies: that ends the spare. Until then it has touched neither database nor device.
"""

import os
import subprocess
import sys

from core.repositories.jobs import Claim
from core.settings import Settings
from worker.processes.launcher import Process, environment, open_log, start_trainer


class Spare:
    """At most one process. ``warm_up`` is called again and again while no job waits, ``launch`` for one that was
    claimed, ``close`` at the worker's end.

    There is none while a job trains: it would take that job's processor and memory.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def warm_up(self) -> None:
        """One that has died is not started again before the next job: it might die again and again."""
        if self._settings.prewarm_trainer and self._process is None:
            self._process = _start(self._settings)

    def launch(self, claim: Claim, settings: Settings) -> Process:
        """The spare, at work on that claim, even if it still imports; a new process where there is none."""
        process, self._process = self._process, None
        if process is not None and _hand_over(process, claim):
            return process
        return start_trainer(claim, settings)

    def close(self) -> None:
        if self._process is not None:
            _end(self._process)
            self._process = None


def wait_for_claim(settings: Settings) -> Claim | None:
    """In the spare: its job, in whose log it prints from now on; None when there will be none."""
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
    """Whether it lives to take the job."""
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
