"""core.artifacts.manifest: a folder of files is complete or does not exist."""

import errno
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from core.artifacts import manifest
from core.artifacts.store import LocalStore
from core.errors import Damaged, NotFound
from core.settings import Settings


def test_the_manifest_tells_what_it_was_told_and_names_every_file(store: LocalStore) -> None:
    listing = manifest.write_folder(store, "models/a", {"x": b"123", "y": b""}, {"epoch": 4})
    written = manifest.read_manifest(store, "models/a")
    assert written == {"epoch": 4, "files": listing}
    assert listing["x"]["size_bytes"] == 3
    assert listing["y"]["sha256"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_folder_that_was_never_finished_does_not_exist(settings: Settings, store: LocalStore) -> None:
    class PowerCut(LocalStore):
        def put(self, key: str, data: bytes) -> None:
            if key.endswith("/y"):
                raise RuntimeError("power cut")
            super().put(key, data)

    with pytest.raises(RuntimeError, match="power cut"):
        manifest.write_folder(PowerCut(settings.data_dir), "models/a", {"x": b"1", "y": b"2"}, {})
    assert store.fetch("models/a/x").read_bytes() == b"1"
    with pytest.raises(NotFound):
        manifest.read_manifest(store, "models/a")


def test_tensors_come_back_as_they_were(store: LocalStore) -> None:
    tensors: dict[str, npt.NDArray[Any]] = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "b": np.array(7, np.int64),
    }
    manifest.write_folder(store, "models/a", {"t": manifest.from_tensors(tensors)}, {})
    read = manifest.read_tensors(store, "models/a", "t")
    assert set(read) == {"a", "b"}
    for name, array in tensors.items():
        np.testing.assert_array_equal(read[name], array, strict=True)  # shape and type too


@pytest.mark.parametrize("damage", [b"w3", b"", b"w1 and more"])
def test_a_file_that_was_changed_is_damaged(store: LocalStore, damage: bytes) -> None:
    manifest.write_folder(store, "models/a", {"x": b"w1"}, {})
    assert manifest.fetch_checked(store, "models/a", "x").read_bytes() == b"w1"
    store.put("models/a/x", damage)
    with pytest.raises(Damaged, match="models/a/x"):
        manifest.fetch_checked(store, "models/a", "x")


def test_a_folder_that_the_disk_has_no_room_for_leaves_nothing(settings: Settings) -> None:
    class Full(LocalStore):
        def put(self, key: str, data: bytes) -> None:
            if key.endswith("second"):
                raise OSError(errno.ENOSPC, "No space left on device")
            super().put(key, data)

    with pytest.raises(OSError, match="No space left"):
        manifest.write_folder(Full(settings.data_dir), "jobs/a/1", {"first": b"1", "second": b"2"}, {})
    assert not (settings.data_dir / "jobs" / "a" / "1").exists()


def test_json_has_no_numbers_that_others_cannot_read() -> None:
    assert json.loads(manifest.to_json({"loss": 1.5})) == {"loss": 1.5}
    with pytest.raises(ValueError, match="JSON compliant"):
        manifest.to_json({"loss": float("nan")})
