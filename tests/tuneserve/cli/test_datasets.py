"""tuneserve.cli.datasets: a person uploads photos and reads their problems."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from core.checkups import queue
from core.db.database import Database
from core.settings import Settings
from service.datasets.builder import Builder
from tests.conftest import NOW
from tests.service.api.routes.test_checkups import FOUND
from tests.support.builds import build_here
from tests.support.datafiles import zipped
from tests.support.setfiles import pets, photo
from tuneserve.cli import main
from tuneserve.client import Client, ServiceError
from tuneserve.client import datasets as calls


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two classes, an empty one, and other things.

    The others are a hidden folder and a file that is no image.
    """
    folder = tmp_path / "photos"
    for name, data in pets("cat", "dog").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "fox").mkdir()
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("main")
    (folder / "cat" / "notes.txt").write_text("meow")
    return folder


BY_ITSELF = ("test_a_folder_is_sent_and_every_problem_told", "test_what_cannot_be_used_is_told_file_by_file")


@pytest.fixture(autouse=True)
def _build_here(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Build data sets without a process for each, but in two tests that show what a real one finds."""
    if request.node.name not in BY_ITSELF:
        monkeypatch.setattr(Builder, "build", build_here)


def typed(*words: object) -> Result:
    return CliRunner().invoke(main.app, ["datasets", *(str(word) for word in words)])


def test_a_folder_is_sent_and_every_problem_told(photos: Path, live: str) -> None:
    answer = typed("add", "pets", photos, "--url", live)
    assert answer.exit_code == 0, answer.output
    assert "pets version 1: 6 images, 2 problems" in answer.output
    assert {line.split(": ")[1] for line in answer.stderr.splitlines()} == {"cat/notes.txt", "fox"}


def test_a_zip_is_sent_as_it_is_and_can_be_looked_at(tmp_path: Path, live: str) -> None:
    (tmp_path / "pets.zip").write_bytes(zipped(pets("cat", "dog")))
    sent = json.loads(typed("add", "pets", tmp_path / "pets.zip", "--json", "--url", live).stdout)
    assert json.loads(typed("show", "pets", "--json", "--url", live).stdout) == sent
    assert "dog" in typed("show", "pets", "--url", live).output


def test_the_name_is_taken_until_it_may_be_replaced(photos: Path, live: str) -> None:
    typed("add", "pets", photos, "--url", live)
    refusal = typed("add", "pets", photos, "--url", live)
    assert isinstance(refusal.exception, ServiceError)
    assert "replace=true" in str(refusal.exception)
    assert "version 2" in typed("add", "pets", photos, "--replace", "--url", live).output


def test_images_are_added_moved_and_removed_and_a_version_is_deleted(photos: Path, tmp_path: Path, live: str) -> None:
    typed("add", "pets", photos, "--url", live)
    new = [tmp_path / "one.png", tmp_path / "two.png"]
    for seed, file in enumerate(new, 900):
        file.write_bytes(photo(seed))
    assert "pets version 2: 8 images" in typed("add-images", "pets", *new, "--class", "fox", "--url", live).output
    foxes = json.loads(typed("images", "pets", "--class", "fox", "--json", "--url", live).stdout)
    ids = [one["id"] for one in foxes]
    assert "pets version 3: 8 images" in typed("move", "pets", *ids, "--class", "cat", "--url", live).output
    assert "pets version 4: 7 images" in typed("remove", "pets", ids[0], "--url", live).output
    assert typed("delete", "pets/2", "--url", live).stdout == "deleted\n"
    rows = [line.split("\t")[0] for line in typed("versions", "pets", "--url", live).stdout.splitlines()]
    assert rows == ["version", "pets/4", "pets/3", "pets/1"]
    assert "pets version 3: 8 images" in typed("show", "pets/3", "--url", live).output
    listed = typed("images", "pets/1", "--limit", 2, "--url", live)
    assert [line.split("\t")[0] for line in listed.stdout.splitlines()] == ["image", "1", "2"]


def test_what_cannot_be_used_is_told_file_by_file(photos: Path, live: str) -> None:
    for file in (photos / "dog").iterdir():
        file.write_bytes(b"none")
    refusal = typed("add", "pets", photos, "--url", live)
    assert refusal.exit_code == 1
    assert "error: dog: The class holds no image" in refusal.stderr
    assert "warning: dog/1.png: This is not an image" in refusal.stderr


def test_of_a_built_in_one_what_is_known_is_shown(live: str) -> None:
    assert "70000" in typed("show", "mnist", "--url", live).output
    assert json.loads(typed("show", "mnist", "--json", "--url", live).stdout)["classes"] == 10


def test_all_that_a_recipe_can_name_is_listed(photos: Path, live: str) -> None:
    typed("add", "pets", photos, "--url", live)
    shown = typed("list", "--url", live).output
    assert "built in" in shown
    assert "pets" in shown
    assert json.loads(typed("list", "--json", "--url", live).stdout)[-1]["images"] == 6


def test_a_large_file_goes_in_pieces_and_leaves_no_upload(
    photos: Path, live: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SINGLE_REQUEST_BYTES", 0)
    assert "version 1: 6 images" in typed("add", "pets", photos, "--url", live).output
    assert typed("add", "pets", photos, "--url", live).exit_code == 1  # the name is taken
    assert list((settings.data_dir / "uploads").iterdir()) == []


def test_an_upload_that_was_left_is_listed_and_ended(live: str) -> None:
    with Client(live) as client:
        upload_id = client.begin_upload(9, "ph\u00f6tos.zip")
        client.send_piece(upload_id, 0, b"pet")
    lines = typed("uploads", "--url", live).stdout.splitlines()
    assert [line.split("\t")[:5] for line in lines[1:]] == [[upload_id, "ph\u00f6tos.zip", "", "3", "9"]]
    assert json.loads(typed("uploads", "--json", "--url", live).stdout)[0]["offset"] == 3
    assert "deleted" in typed("end-upload", upload_id, "--url", live).stdout
    assert json.loads(typed("uploads", "--json", "--url", live).stdout) == []


@pytest.mark.parametrize("at_once_bytes", [calls.SINGLE_REQUEST_BYTES, 0], ids=["at once", "in pieces"])
def test_a_folder_is_checked_and_nothing_kept(
    photos: Path, live: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, at_once_bytes: int
) -> None:
    monkeypatch.setattr(calls, "SINGLE_REQUEST_BYTES", at_once_bytes)
    answer = typed("check", photos, "--url", live)
    assert answer.exit_code == 0, answer.output
    assert "This can be trained on: 6 images, 2 problems" in answer.stdout
    assert "warning: cat/notes.txt: This is not an image" in answer.stderr
    assert [list(folder.iterdir()) for folder in settings.data_dir.glob("dataset_files")] == [[]]
    assert [list(folder.iterdir()) for folder in settings.data_dir.glob("uploads")] in ([], [[]])


def test_what_could_not_be_trained_on_is_told_before_it_is_sent_for_good(photos: Path, live: str) -> None:
    for file in (photos / "dog").iterdir():
        file.write_bytes(b"none")
    refusal = typed("check", photos, "--url", live)
    assert refusal.exit_code == 1
    assert "error: dog: The class holds no image" in refusal.stderr


def test_what_a_worker_found_is_listed_with_the_numbers_of_images(photos: Path, live: str, db: Database) -> None:
    typed("add", "pets", photos, "--url", live)
    assert "pets version 1: waiting" in typed("checkup", "pets", "--url", live).output
    with db.write() as session:
        claim = queue.claim(session, "worker_a", NOW)
        assert claim is not None
        queue.succeed(session, claim, FOUND, NOW)
    answer = typed("checkup", "pets", "--url", live)
    rows = [line.split("\t")[:3] for line in answer.stdout.splitlines()]
    found = [["leak", "5", "cat"], ["wrong label?", "4", "cat"], ["unusual", "4", "cat"], ["rare class", "", "dog"]]
    assert (answer.exit_code, [row for row in rows if row in found]) == (0, found)
    assert json.loads(typed("checkup", "pets", "--json", "--url", live).stdout)["findings"] == FOUND
    assert "pets version 1: waiting" in typed("checkup", "pets", "--again", "--url", live).output
    with db.write() as session:
        claim = queue.claim(session, "worker_a", NOW)
        assert claim is not None
        queue.fail(session, claim, "no memory", NOW)
    answer = typed("checkup", "pets", "--url", live)
    assert (answer.exit_code, "no memory" in answer.output) == (1, True)


def test_a_class_folder_that_is_a_link_is_sent_and_a_broken_one_told(photos: Path, live: str, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        (tmp_path / "elsewhere" / f"{number}.png").write_bytes(photo(900 + number))
    (photos / "wasp").symlink_to("../elsewhere")
    (photos / "gone.png").symlink_to("nowhere")
    answer = typed("check", photos, "--json", "--url", live)
    assert json.loads(answer.stdout)["classes"]["wasp"] == {"train": 3, "test": 0}
    assert "gone.png is left out: it is a broken link" in answer.stderr


def test_a_pipe_is_no_data_set(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in typed("check", tmp_path / "pipe", "--url", "http://127.0.0.1:1").stderr
