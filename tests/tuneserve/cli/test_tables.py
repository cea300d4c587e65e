"""tuneserve.cli.tables: what a script cuts and what a person copies is whole."""

import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.text import Text
from typer.testing import CliRunner

from core.db.tables import Job, Model
from service.datasets.builder import Builder
from tests import ROOT
from tests.support.builds import build_here
from tests.support.datafiles import zipped
from tests.support.setfiles import pets
from tests.support.terminal import at_terminal, piped
from tuneserve.cli.main import app
from tuneserve.cli.tables import age, print_table
from tuneserve.client import Client
from tuneserve.terminal import Console

BOX = re.compile("[\u2500-\u257f]")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3|4|9|10)[0-8]")  # of the writing or behind it; bold is none
LONG = "a-name-that-alone-is-longer-than-half-of-a-terminal-of-eighty-columns"


@pytest.fixture
def furnished(
    live: str,
    enqueue: Callable[..., Job],
    published: Callable[..., Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Client]:
    """A service with one of everything that can be listed.

    A key comes last, since the service asks for it from then on.
    """
    enqueue(network="efficientnet_v2_s", dataset="fashion_mnist")
    published(dataset=LONG)
    monkeypatch.setattr(Builder, "build", build_here)
    archive = tmp_path / "pets.zip"
    archive.write_bytes(zipped(pets("cat", "dog")))
    with Client(live) as open_to_all:
        open_to_all.add_dataset(LONG[:63], archive)
        secret = open_to_all.add_key(LONG, ["admin"])["key"]
    with Client(live, secret) as client:
        yield client


def listed(client: Client, *words: str) -> list[list[str]]:
    output = piped(*words, TUNESERVE_URL=client.url, TUNESERVE_API_KEY=_key(client))
    assert not BOX.search(output)
    assert "\x1b" not in output
    return [line.split("\t") for line in output.splitlines()]


def _key(client: Client) -> str:
    return client._http.headers["authorization"].removeprefix("Bearer ")


def test_what_is_listed_into_a_pipe_is_whole_and_parted_by_tabs(furnished: Client) -> None:
    (job,), (key,) = furnished.jobs(), furnished.keys()
    header, row = listed(furnished, "jobs")
    assert header == ["job", "status", "dataset", "network", "test accuracy", "name", "age"]
    assert row[:6] == [job["id"], "queued", "fashion_mnist", "efficientnet_v2_s", "", ""]
    header, row = listed(furnished, "models")
    assert header == ["model", "dataset", "network", "test accuracy", "aliases", "age"]
    assert (row[0], row[1], row[4]) == (f"{LONG}/1", LONG, "best, latest, serving")
    assert listed(furnished, "keys", "list")[1][:3] == [key["id"], LONG, "admin"]
    assert [LONG[:63], "uploaded", "1", "2", "6"] in listed(furnished, "datasets", "list")


@pytest.mark.parametrize("columns", [80, 20])
def test_at_a_terminal_there_is_a_table_with_whole_ids(enqueue: Callable[..., Job], live: str, columns: int) -> None:
    job = enqueue(network="efficientnet_v2_s", dataset="fashion_mnist")
    shown = at_terminal("jobs", "--url", live, columns=columns)
    assert BOX.search(shown)
    assert job.id in shown


def test_no_color_leaves_no_colour_at_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESERVE_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "torch.py").write_text("raise ImportError('too large for a test of colours')")
    path = f"{ROOT}{os.pathsep}{tmp_path}"
    assert COLOUR.search(at_terminal("doctor", exit_code=1, PYTHONPATH=path))
    assert not COLOUR.search(at_terminal("doctor", exit_code=1, PYTHONPATH=path, NO_COLOR="1"))


def test_completion_is_a_script_that_is_printed() -> None:
    # the shell is named, since finding it among the parents fails where there is none
    assert "COMP_WORDS" in piped("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")


def completed(line: str, **environment: str) -> list[str]:
    """Return what a shell offers behind a line that is typed so far."""
    state = {"_TUNESERVE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    return CliRunner().invoke(app, env=state | environment, prog_name="tuneserve").stdout.split()


def test_ids_and_names_are_completed_from_the_service(furnished: Client) -> None:
    (job,) = furnished.jobs()
    reached = {"TUNESERVE_URL": furnished.url, "TUNESERVE_API_KEY": _key(furnished)}
    assert completed("tuneserve cancel job_", **reached) == [job.id]
    assert completed("tuneserve follow @", **reached) == ["@last"]
    assert completed("tuneserve models show a-", **reached) == [LONG, f"{LONG}/1"]
    assert completed("tuneserve datasets versions a-", **reached) == [LONG[:63]]
    assert completed("tuneserve train --dataset mni", **reached) == ["mnist"]
    assert completed("tuneserve cancel job_", TUNESERVE_URL="http://127.0.0.1:1") == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(file: io.StringIO, *rows: Sequence[str | Text]) -> str:
    print_table(Console(file=file, width=30, color_system=None), ("name", "words"), rows)
    return file.getvalue()


def test_a_name_is_whole_where_the_other_cells_have_to_break() -> None:
    shown = printed(Terminal(), ("a name of twenty-five signs", "some words beside it that take many lines"))
    assert "a name of twenty-five signs" in shown
    assert "\u2026" not in shown


def test_a_cell_is_shown_as_it_is_with_brackets() -> None:
    assert "[red]" in printed(Terminal(), ("[red]", "x"))
    assert printed(io.StringIO(), ("[red]", Text("ok", "green"))) == "name\twords\n[red]\tok\n"


def test_tabs_and_new_lines_in_a_cell_part_nothing() -> None:
    assert printed(io.StringIO(), ("a\tb", "c\nd\r\n")) == "name\twords\na b\tc d  \n"


def test_a_list_of_nothing_is_its_header() -> None:
    assert printed(io.StringIO()) == "name\twords\n"
    assert "words" in printed(Terminal())


def test_an_age_is_in_its_largest_unit() -> None:
    spans = {5: "5 s", 125: "2 min", 7300: "2 h", 200_000: "2 d", -9: "0 s"}
    assert {ago: age((datetime.now(UTC) - timedelta(seconds=ago)).isoformat()) for ago in spans} == spans
