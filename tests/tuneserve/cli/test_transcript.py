"""docs/command-line.md is up to date.

``python -m tests.support.transcript`` writes it anew.
"""

import re
import shlex
from typing import Any

import pytest
import typer

from tests.support.transcript import PAGE, SESSION
from tuneserve.cli import main

TYPED = re.findall(r"^\$ (.*)$", PAGE.read_text(), re.MULTILINE)
CALL = re.compile(r"tuneserve ((?:\$\([^)]*\)|[^|;>&$])*)")  # up to what the shell does with it


def calls() -> list[list[str]]:
    """The words behind each `tuneserve` of the page."""
    return [shlex.split(words) for line in TYPED for words in CALL.findall(line)]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """Find the command that the words name, and its remaining words."""
    command: Any = typer.main.get_command(main.app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_the_page_is_of_the_session_as_it_is_now() -> None:
    assert [line for lines in SESSION.values() for line in lines] == TYPED


@pytest.mark.parametrize("words", calls(), ids=" ".join)
def test_each_command_on_the_page_exists_and_takes_what_is_given(words: list[str]) -> None:
    command, rest = command_of(words)
    assert not hasattr(command, "commands") or command.invoke_without_command, (
        f"tuneserve {' '.join(words)} names no command"
    )
    given = {word for word in rest if re.match(r"--?[a-z]", word)}
    taken = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert given <= taken


def test_every_command_is_found_by_its_words() -> None:
    assert len(calls()) > len(SESSION)
    command, rest = command_of(["datasets", "check", "pets"])
    assert (command.name, rest) == ("check", ["pets"])
    assert hasattr(command_of(["no-such-command"])[0], "commands")
