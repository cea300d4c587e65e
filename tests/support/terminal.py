"""Run the command line at a terminal or into a pipe.

That is how people and scripts start it.
"""

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import ROOT

TUNESERVE = (sys.executable, "-m", "tuneserve.cli.main")
DECIDES = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "TERM")


def piped(*words: object, **environment: str) -> str:
    """Run a command into a pipe; return its output."""
    done = _run(words, ROOT, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(*words: object, folder: Path, **environment: str) -> str:
    """Run a command that must exit with 1; return its error.

    It is started in that folder, and prints nothing else.
    """
    done = _run(words, folder, environment)
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    return done.stderr


def at_terminal(*words: object, columns: int = 80, exit_code: int = 0, **environment: str) -> str:
    """Run a command at a terminal of that width; return its output.

    The output has its colours and all.
    """
    code, shown = run_at_terminal([*TUNESERVE, *map(str, words)], columns, ROOT, environment_of_a_person(environment))
    assert code == exit_code, shown
    return shown


def run_at_terminal(
    command: Sequence[str], columns: int, folder: Path, environment: Mapping[str, str]
) -> tuple[int, str]:
    """Run a program at a terminal; return exit code and output."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    child = subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    read = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    return child.wait(), read.decode().replace("\r\n", "\n")


def environment_of_a_person(more: dict[str, str]) -> dict[str, str]:
    """Build a person's environment, whatever this process runs in."""
    kept = {name: value for name, value in os.environ.items() if name not in DECIDES}
    return kept | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)} | more


def _run(words: tuple[object, ...], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TUNESERVE, *map(str, words)],
        cwd=folder,
        env=environment_of_a_person(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # so Linux says that nobody holds the other end any more
        return b""
