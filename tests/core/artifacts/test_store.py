"""core.artifacts.store: a written object is whole."""

import os
from pathlib import Path

import pytest

from core.artifacts.store import LocalStore
from core.errors import NotFound


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root)


def test_what_was_put_can_be_fetched(store: LocalStore) -> None:
    store.put("models/a/weights", b"1234")
    assert store.fetch("models/a/weights").read_bytes() == b"1234"


def test_a_later_put_takes_the_place_of_the_earlier(store: LocalStore, root: Path) -> None:
    store.put("a", b"old")
    store.put("a", b"new and longer")
    assert store.fetch("a").read_bytes() == b"new and longer"
    assert files_under(root) == ["a"]


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_object_and_no_rest(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store.put("models/a", b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, full)
    with pytest.raises(OSError, match="No space"):
        store.put("models/a", b"new")
    assert store.fetch("models/a").read_bytes() == b"old"
    assert files_under(root) == ["models/a"]


def test_an_object_written_in_pieces_is_there_when_its_block_has_ended(store: LocalStore, root: Path) -> None:
    with store.writing("batches/a/0") as file:
        for piece in (b"12", b"34"):
            file.write(piece)
        with pytest.raises(NotFound):
            store.fetch("batches/a/0")
    assert store.fetch("batches/a/0").read_bytes() == b"1234"
    assert files_under(root) == ["batches/a/0"]


def test_a_block_that_fails_leaves_nothing(store: LocalStore, root: Path) -> None:
    def upload() -> None:
        with store.writing("a") as file:
            file.write(b"half")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        upload()
    assert files_under(root) == []


def test_an_open_object_stays_readable_while_it_is_replaced(store: LocalStore) -> None:
    store.put("a", b"old")
    with store.fetch("a").open("rb") as file:
        store.put("a", b"new")
        assert file.read() == b"old"


def test_no_other_user_may_read_what_is_stored(store: LocalStore) -> None:
    store.put("a", b"1")
    assert store.fetch("a").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("key", ["", ".", "/etc/passwd", "..", "../x", "a/../../x", "a/.."])
def test_keys_that_climb_out_are_refused(store: LocalStore, root: Path, key: str) -> None:
    for call in (lambda: store.put(key, b"1"), lambda: store.fetch(key), lambda: store.delete(key)):
        with pytest.raises(ValueError, match="not a key"):
            call()
    assert files_under(root.parent) == []


@pytest.mark.parametrize("key", ["nothing", "folder", "folder/x"])
def test_what_was_never_put_is_not_found(store: LocalStore, key: str) -> None:
    store.put("folder/file", b"1")
    with pytest.raises(NotFound, match=key):
        store.fetch(key)


def test_a_deleted_folder_is_gone_and_its_neighbour_is_not(store: LocalStore, root: Path) -> None:
    for key in ("jobs/a/1", "jobs/a/deep/2", "jobs/ab/3"):
        store.put(key, b"1")
    store.delete("jobs/a")
    assert files_under(root) == ["jobs/ab/3"]


def test_deleting_what_is_not_there_is_no_error(store: LocalStore) -> None:
    store.delete("jobs/none")


def test_an_object_is_durable_its_bytes_before_its_name_and_its_name_after_the_rename(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.replace

    def noting_sync(descriptor: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        sync(descriptor)

    def noting_rename(path: Path, target: Path) -> Path:
        done.append(f"rename to {target.name}")
        return rename(path, target)

    monkeypatch.setattr("os.fsync", noting_sync)
    monkeypatch.setattr("pathlib.Path.replace", noting_rename)
    store.put("weights", b"1234")
    bytes_synced, *rest = done
    assert bytes_synced.startswith("sync .part-")
    assert rest == ["rename to weights", f"sync {root.name}"]
