"""The tools of CONTRIBUTING.md pass on the whole tree."""

import re
import subprocess
import sys

import pytest

from tests import ROOT


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_the_tools_have_nothing_to_say(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ci_runs_the_test_command_of_the_readme() -> None:
    (command,) = re.findall(r"```sh\n(.* pytest)\n```", (ROOT / "README.md").read_text())
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()
