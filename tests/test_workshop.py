"""The tools of CONTRIBUTING.md pass on the whole tree, and the file trees of docs/layout.md and README are true."""

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


def tree_of(document: str) -> list[str]:
    """Its lines."""
    found = re.search(r"```\n(core/ .*?)```", (ROOT / document).read_text(), re.DOTALL)
    assert found
    return found[1].splitlines()


def test_the_readme_shows_the_top_of_the_tree() -> None:
    assert tree_of("README.md") == [line for line in tree_of("docs/layout.md") if not line.startswith(" ")]


def test_the_layout_names_every_file_of_the_packages_and_no_other() -> None:
    told: set[str] = set()
    folder = "core"
    for line in tree_of("docs/layout.md"):
        if top := re.match(r"(\w+)/", line):
            folder = top[1]
        elif entry := re.match(r"  (\w+\.py) ", line):
            told.add(f"{folder}/{entry[1]}")
    there = {
        str(path.relative_to(ROOT))
        for package in ("core", "service", "worker", "client")
        for path in (ROOT / package).glob("*.py")
        if not path.name.startswith("__")
    }
    assert told == there
