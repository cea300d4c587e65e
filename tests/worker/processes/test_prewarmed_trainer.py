"""worker.processes.prewarmed_trainer: a trainer that waits for its job.

The processes are real; a small script stands in for the trainer.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.repositories.jobs import Claim
from core.settings import Settings
from tests import ROOT
from worker.processes.launcher import Process
from worker.processes.prewarmed_trainer import PrewarmedTrainer

CLAIM = Claim("job_x", 7)
STAND_IN = """#!{python}
import os, sys
sys.path.insert(0, {root!r})
print("born", sys.argv[1:], file=open({register!r}, "a"), flush=True)
from core.settings import Settings
from worker.processes.prewarmed_trainer import wait_for_claim
claim = None if sys.argv[3:] else wait_for_claim(Settings())
os.system("echo its children print here too")
print(claim, os.getsid(0), os.environ["TUNESERVE_WORKER_PID"], repr(sys.stdin.read()), flush=True)
print("and this went wrong", file=sys.stderr)
sys.exit(5 if claim else 0)
"""
WARM, COLD = "born ['-m', 'worker.trainer']", "born ['-m', 'worker.trainer', 'job_x', '7']"


@pytest.fixture
def born(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A stand-in for Python; return how it was started each time."""
    program, register = tmp_path / "python", tmp_path / "register"
    program.write_text(STAND_IN.format(python=sys.executable, root=str(ROOT), register=str(register)))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return lambda: register.read_text().splitlines() if register.exists() else []


@pytest.fixture
def prewarmed(settings: Settings, born: Callable[[], list[str]]) -> Iterator[PrewarmedTrainer]:
    made = PrewarmedTrainer(settings)
    yield made
    made.close()


def process_of(prewarmed: PrewarmedTrainer) -> Any:
    """Return the waiting process, which nobody outside can see."""
    assert prewarmed._process is not None
    return prewarmed._process


def finished(process: Process, settings: Settings) -> tuple[int, str]:
    code = process.wait(30)
    return code, settings.log_path("job_x", 7).read_text()


def test_the_prewarmed_trainer_takes_the_job_and_prints_into_its_log(
    prewarmed: PrewarmedTrainer, settings: Settings, born: Callable[[], list[str]]
) -> None:
    prewarmed.warm_up()
    waiting = process_of(prewarmed)
    pid = waiting.pid
    assert prewarmed.launch(CLAIM, settings) is waiting
    code, log = finished(waiting, settings)
    told = f"{CLAIM} {pid} {os.getpid()} ''"  # a session of its own, and nothing more to read
    assert (code, log.splitlines()) == (5, ["its children print here too", told, "and this went wrong"])
    assert born() == [WARM]


def test_while_nothing_happens_there_is_one_and_after_its_job_another(
    prewarmed: PrewarmedTrainer, settings: Settings
) -> None:
    prewarmed.warm_up()
    first = process_of(prewarmed)
    prewarmed.warm_up()
    assert process_of(prewarmed) is first
    prewarmed.launch(CLAIM, settings).wait(30)
    prewarmed.warm_up()
    assert process_of(prewarmed) is not first


def test_a_prewarmed_trainer_that_died_is_no_failure_of_the_job(
    prewarmed: PrewarmedTrainer, settings: Settings, born: Callable[[], list[str]]
) -> None:
    prewarmed.warm_up()
    dead = process_of(prewarmed)
    os.kill(dead.pid, signal.SIGKILL)
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    process = prewarmed.launch(CLAIM, settings)
    assert process is not dead
    assert finished(process, settings)[0] == 0
    assert born()[-1] == COLD


def test_a_prewarmed_trainer_that_died_is_not_started_again_and_again(prewarmed: PrewarmedTrainer) -> None:
    prewarmed.warm_up()
    dead = process_of(prewarmed)
    dead.kill()
    dead.wait(30)
    prewarmed.warm_up()
    assert process_of(prewarmed) is dead


def test_a_prewarmed_trainer_that_cannot_be_told_is_replaced(prewarmed: PrewarmedTrainer, settings: Settings) -> None:
    prewarmed.warm_up()
    deaf = process_of(prewarmed)
    os.kill(deaf.pid, signal.SIGSTOP)  # it shall not see the end that follows
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.dup2(write_end, deaf.stdin.fileno())  # as if it had died within this moment
    os.close(write_end)
    assert finished(prewarmed.launch(CLAIM, settings), settings)[0] == 0
    assert deaf.returncode == -signal.SIGKILL


def test_the_prewarmed_trainer_ends_when_its_worker_has_gone(prewarmed: PrewarmedTrainer) -> None:
    prewarmed.warm_up()
    orphan = process_of(prewarmed)
    orphan.stdin.close()
    assert orphan.wait(30) == 0


def test_a_worker_that_stops_takes_the_prewarmed_trainer_along(prewarmed: PrewarmedTrainer) -> None:
    prewarmed.warm_up()
    waiting = process_of(prewarmed)
    prewarmed.close()
    assert waiting.returncode == -signal.SIGKILL
    prewarmed.close()


def test_who_does_not_want_one_gets_a_new_process_for_each_job(
    settings: Settings, born: Callable[[], list[str]]
) -> None:
    cold = settings.model_copy(update={"prewarm_trainer": False})
    prewarmed = PrewarmedTrainer(cold)
    prewarmed.warm_up()
    assert finished(prewarmed.launch(CLAIM, cold), cold)[0] == 0
    assert born() == [COLD]
