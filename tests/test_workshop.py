"""The commands that README, CI and documents name exist."""

import re

from tests import ROOT


def test_ci_runs_the_test_command_of_the_readme() -> None:
    (command,) = re.findall(r"```sh\n(.* pytest)\n```", (ROOT / "README.md").read_text())
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_every_recipe_that_a_document_or_ci_names_is_in_the_justfile() -> None:
    recipes = set(re.findall(r"^([a-z-]+)\b.*:", (ROOT / "justfile").read_text(), re.MULTILINE))
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".*.yaml"), *ROOT.glob(".github/**/*.*")]
    named = {
        name
        for path in (*texts, ROOT / ".ci" / "run")
        for name in re.findall(r"(?:^|[`/] ?|bin/|run )just ([a-z-]+)", path.read_text(), re.MULTILINE)
    }
    assert named
    assert named <= recipes
