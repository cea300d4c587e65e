"""worker.processes.launcher: a real process with a trainer's environment.

A small script stands in for the trainer.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from core.repositories.jobs import Claim
from core.settings import Settings
from worker.processes.launcher import start_trainer

CLAIM = Claim("job_x", 7)
TELL = """#!{python}
import json, os, sys
print(json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ), "session": os.getsid(0),
                   "input": sys.stdin.read()}}), flush=True)
print("and this went wrong", file=sys.stderr)
sys.exit({code})
"""


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Python that records how it was started."""
    program = tmp_path / "python"
    program.write_text(TELL.format(python=sys.executable, code=5))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return program


def told(settings: Settings) -> dict[str, object]:
    answer: dict[str, object] = json.loads(settings.log_path("job_x", 7).read_text().splitlines()[0])
    return answer


@pytest.mark.usefixtures("trainer")
def test_the_trainer_is_told_its_job_and_attempt(settings: Settings) -> None:
    process = start_trainer(CLAIM, settings)
    assert process.wait(30) == 5
    assert told(settings)["arguments"] == ["-m", "worker.trainer", "job_x", "7"]


@pytest.mark.usefixtures("trainer")
def test_everything_it_prints_goes_to_the_attempts_log(settings: Settings) -> None:
    start_trainer(CLAIM, settings).wait(30)
    log = settings.data_dir / "jobs" / "job_x" / "logs" / "attempt-007.log"
    assert log.read_text().endswith("and this went wrong\n")


@pytest.mark.usefixtures("trainer")
def test_a_log_is_added_to_and_never_cut(settings: Settings) -> None:
    log = settings.log_path("job_x", 7)
    log.parent.mkdir(parents=True)
    log.write_text("from before\n")
    start_trainer(CLAIM, settings).wait(30)
    first, *rest = log.read_text().splitlines()
    assert first == "from before"
    assert len(rest) == 2


@pytest.mark.usefixtures("trainer")
def test_it_sees_exactly_the_workers_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELLO", "there")
    changed = settings.model_copy(update={"heartbeat_interval_s": 0.25, "datasets_mirror": "http://mirror/x"})
    start_trainer(CLAIM, changed).wait(30)
    environment = told(settings)["environment"]
    assert isinstance(environment, dict)
    assert environment["HELLO"] == "there"
    assert environment["GOMP_SPINCOUNT"] == "1000"
    assert environment["TUNESERVE_WORKER_PID"] == str(os.getpid())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings() == changed


@pytest.mark.usefixtures("trainer")
def test_how_threads_wait_is_the_operators_to_say(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    start_trainer(CLAIM, settings).wait(30)
    environment = told(settings)["environment"]
    assert isinstance(environment, dict)
    assert environment["GOMP_SPINCOUNT"] == "7"


@pytest.mark.usefixtures("trainer")
def test_it_has_a_session_of_its_own_and_no_input(settings: Settings) -> None:
    start_trainer(CLAIM, settings).wait(30)
    assert told(settings)["session"] != os.getsid(0)
    assert told(settings)["input"] == ""


def test_an_unfinished_trainer_can_be_stopped(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    process = start_trainer(CLAIM, settings)
    assert process.poll() is None
    process.terminate()
    assert process.wait(30) == -15
