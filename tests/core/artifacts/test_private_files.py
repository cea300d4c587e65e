"""core.artifacts.private_files: no other user reads what service and worker write."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.artifacts.private_files import keep_private


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_what_is_made_from_then_on_is_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    keep_private(folder)
    (folder / "jobs").mkdir()
    (folder / "log").write_text("")
    assert [mode(path) for path in (folder, folder / "jobs", folder / "log")] == [0o700, 0o700, 0o600]


def test_a_folder_that_others_can_read_is_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for before, after in ((0o755, 0o700), (0o2775, 0o2700), (0o700, 0o700), (0o500, 0o500)):
        tmp_path.chmod(before)
        keep_private(tmp_path)
        assert mode(tmp_path) == after
    tmp_path.chmod(0o700)
    assert caplog.text == ""


def test_a_folder_that_is_not_ours_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders that are not ours are warned about, and not closed.

    Nor is a folder for everybody closed, such as /tmp.
    """

    def refuse(_path: Path, _mode: int) -> None:
        raise PermissionError

    everybodys, anothers = tmp_path / "everybody's", tmp_path / "another's"
    for folder, before in ((everybodys, 0o1777), (anothers, 0o755)):
        folder.mkdir()
        folder.chmod(before)
    keep_private(everybodys)
    monkeypatch.setattr(Path, "chmod", refuse)  # tests may run as root, who may do it
    keep_private(anothers)
    assert (mode(everybodys), mode(anothers)) == (0o1777, 0o755)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert all(f"{folder} (mode" in caplog.text for folder in (everybodys, anothers))


def test_where_there_can_be_no_folder_the_program_ends_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder, why in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "data", "Not a directory")):
        with pytest.raises(SystemExit, match=rf"TUNESERVE_DATA_DIR names {folder}, .* {why}\. Name another one\.$"):
            keep_private(folder)
