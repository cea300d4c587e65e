"""Files of data sets reach the disk before a row names them."""

import os
from pathlib import Path

import pytest

from core.artifacts.dataset_files import StoredImage
from service.datasets.file_store import FileStore, arrange


def test_bytes_reach_the_disk_before_their_names_and_names_before_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync_all, sync, rename = os.sync, os.fsync, Path.rename

    def noting_sync_all() -> None:
        done.append("sync all")
        sync_all()

    def noting_sync(descriptor: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().relative_to(tmp_path)}")
        sync(descriptor)

    def noting_rename(path: Path, target: Path) -> Path:
        if not path.is_relative_to(tmp_path / "built" / "train"):  # to its place by content, which is no name yet
            done.append(f"name {target.relative_to(tmp_path)}")
        return rename(path, target)

    monkeypatch.setattr("os.sync", noting_sync_all)
    monkeypatch.setattr("os.fsync", noting_sync)
    monkeypatch.setattr("pathlib.Path.rename", noting_rename)
    files = FileStore(tmp_path / "files")
    (tmp_path / "files").mkdir()
    for file, digest, expected in (
        ("1.png", "ab1", ["name files/pets", "sync files"]),
        ("2.png", "ab2", ["name files/pets/ab/ab2", "sync files/pets/ab", "sync files/pets", "sync files"]),
    ):
        built = tmp_path / "built"
        (built / "train" / "cat").mkdir(parents=True)
        (built / "train" / "cat" / file).write_bytes(b"picture")
        arranged = arrange(built, [StoredImage("train", "cat", file, digest)])
        files.place(arranged, "pets", {digest})
        assert done == ["sync all", *expected]
        built.rename(tmp_path / f"used-{digest}")
        done.clear()
