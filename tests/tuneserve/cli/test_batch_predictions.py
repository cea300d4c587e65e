"""tuneserve.cli.batch_predictions: a person sends many images and reads the answers."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from core.db.database import Database
from core.db.tables import Model
from core.settings import Settings
from tests.support.batchfiles import b64, digits, line, small, zip_of
from tuneserve.cli import main
from tuneserve.client import connection
from worker.supervisor.loop import WorkerLoop

Published = Callable[..., Model]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"poll_s": 0.05, "train_niceness": 0})


@pytest.fixture
def url(published: Published, request: pytest.FixtureRequest) -> str:
    """A service with a model."""
    published()
    return str(request.getfixturevalue("live"))


@pytest.fixture(autouse=True)
def _worker(settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real worker beside the test."""
    monkeypatch.setattr(connection, "POLL_S", 0.05)
    loop = WorkerLoop(settings, db)
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield
    loop.stop.set()
    thread.join()


def typed(*words: object) -> Result:
    return CliRunner().invoke(main.app, ["predict", *(str(word) for word in words)])


def test_a_zip_is_answered_into_a_file(tmp_path: Path, url: str) -> None:
    sent, out = tmp_path / "images.zip", tmp_path / "results.jsonl"
    sent.write_bytes(zip_of(digits(70)))
    answer = typed("--bulk", sent, "--out", out, "--url", url)
    assert answer.exit_code == 0, answer.output
    assert "succeeded, 70 of 70 images" in answer.stderr
    assert [json.loads(found)["label"] for found in out.read_text().splitlines()] == [str(n % 10) for n in range(70)]


def test_a_manifest_is_answered_here_and_a_bad_line_is_an_exit_code(tmp_path: Path, url: str) -> None:
    sent = tmp_path / "images.jsonl"
    sent.write_text(f"{line(id='seven', b64=b64(small(7)))}\n{{}}\n")
    answer = typed("--bulk", sent, "--url", url)
    first, second = (json.loads(found) for found in answer.stdout.splitlines())
    assert (first["id"], first["label"], second["error"]["code"]) == ("seven", "7", "invalid_input")
    assert answer.exit_code == 1


def test_a_refusal_is_told(tmp_path: Path, url: str) -> None:
    (tmp_path / "images.zip").write_bytes(b"none")
    answer = typed("--bulk", tmp_path / "images.zip", "--url", url)
    assert (answer.exit_code, "not a zip" in str(answer.exception)) == (1, True)


@pytest.mark.parametrize("both", [False, True])
def test_images_or_a_file_of_them_but_not_both(tmp_path: Path, url: str, both: bool) -> None:
    (tmp_path / "7.png").write_bytes(small(7))
    words = (tmp_path / "7.png", "--bulk", tmp_path / "7.png") if both else ()
    answer = typed(*words, "--url", url)
    assert answer.exit_code == 2
    assert "--bulk" in answer.output
