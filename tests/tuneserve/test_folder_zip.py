"""tuneserve.folder_zip: a folder's content is zipped or named, without waiting."""

import os
import zipfile
from pathlib import Path

import pytest

from tuneserve.folder_zip import pack, sendable_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("set/ant/1.png", "set/bee/2.png", "elsewhere/3.png", "elsewhere/inner/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path / "set"


def packed(folder: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """The files in the zip, and what was left out."""
    left_out: dict[str, str] = {}
    target = folder.parent / "folder.zip"
    pack(folder, target, lambda path, reason: left_out.__setitem__(path.name, reason))
    with zipfile.ZipFile(target) as archive:
        return {name: archive.read(name) for name in archive.namelist()}, left_out


def test_a_class_folder_that_is_a_link_is_followed_and_so_is_a_file(folder: Path) -> None:
    (folder / "wasp").symlink_to("../elsewhere")
    (folder / "ant" / "5.png").symlink_to("../../elsewhere/3.png")
    assert packed(folder) == (
        {
            "ant/": b"",
            "ant/1.png": b"set/ant/1.png",
            "ant/5.png": b"elsewhere/3.png",
            "bee/": b"",
            "bee/2.png": b"set/bee/2.png",
            "wasp/": b"",
            "wasp/3.png": b"elsewhere/3.png",
            "wasp/inner/": b"",
            "wasp/inner/4.png": b"elsewhere/inner/4.png",
        },
        {},
    )


def test_a_link_to_a_folder_around_it_is_no_circle(folder: Path) -> None:
    (folder / "ant" / "again").symlink_to("..")
    (folder / "ant" / "self").symlink_to(".")
    files, left_out = packed(folder)
    assert set(files) == {"ant/", "ant/1.png", "bee/", "bee/2.png"}
    assert set(left_out) == {"again", "self"}


@pytest.mark.timeout(60)
def test_pipes_and_broken_links_are_named_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "ant" / "pipe.png")
    (folder / "bee" / "gone.png").symlink_to("nowhere.png")
    (folder / "bee" / "round.png").symlink_to("round.png")
    files, left_out = packed(folder)
    assert set(files) == {"ant/", "ant/1.png", "bee/", "bee/2.png"}
    assert left_out == {
        "pipe.png": "it is neither a file nor a folder",
        "gone.png": "it is a broken link",
        "round.png": "it is a broken link",
    }


def test_a_name_that_is_not_utf_8_is_sent_under_one_that_is(folder: Path) -> None:
    Path(os.fsdecode(bytes(folder) + b"/ant/caf\xe9.png")).write_bytes(b"x")
    assert packed(folder)[0]["ant/caf%E9.png"] == b"x"
    assert sendable_name("käfer.png") == "käfer.png"
