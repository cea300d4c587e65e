"""core.checkpoints: a folder of files is whole or does not exist."""

import errno
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from core import checkpoints
from core.db import Database
from core.errors import Damaged, NotFound
from core.jobs import Claim
from core.settings import Settings
from core.store import LocalStore
from core.tables import Checkpoint
from tests.conftest import NOW

Claimed = Callable[..., Claim]


def save(db: Database, store: LocalStore, claim: Claim, epoch: int, attempt: int = 1) -> Checkpoint:
    key = f"jobs/{claim.job_id}/{attempt}/{epoch}"
    checkpoints.write_folder(store, key, {"weights.safetensors": b"w%d" % epoch, "more": b"m"}, {"epoch": epoch})
    row = Checkpoint(
        id=f"ckpt_{attempt}_{epoch}",
        job_id=claim.job_id,
        attempt=attempt,
        epoch=epoch,
        step=10 * epoch,
        key=key,
        metrics={},
        size_bytes=3,
        created_at=NOW,
    )
    with db.write() as session:
        session.add(row)
    return row


def newest(db: Database, store: LocalStore, claim: Claim) -> str | None:
    with db.read() as session:
        row = checkpoints.newest_whole(session, store, claim.job_id)
    return None if row is None else row.id


def test_the_manifest_tells_what_it_was_told_and_names_every_file(store: LocalStore) -> None:
    listing = checkpoints.write_folder(store, "models/a", {"x": b"123", "y": b""}, {"epoch": 4})
    manifest = checkpoints.read_manifest(store, "models/a")
    assert manifest == {"epoch": 4, "files": listing}
    assert listing["x"]["size_bytes"] == 3
    assert listing["y"]["sha256"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_folder_that_was_never_finished_does_not_exist(settings: Settings, store: LocalStore) -> None:
    class PowerCut(LocalStore):
        def put(self, key: str, data: bytes) -> None:
            if key.endswith("/y"):
                raise RuntimeError("power cut")
            super().put(key, data)

    with pytest.raises(RuntimeError, match="power cut"):
        checkpoints.write_folder(PowerCut(settings.data_dir), "models/a", {"x": b"1", "y": b"2"}, {})
    assert store.fetch("models/a/x").read_bytes() == b"1"
    with pytest.raises(NotFound):
        checkpoints.read_manifest(store, "models/a")


def test_tensors_come_back_as_they_were(store: LocalStore) -> None:
    tensors: dict[str, npt.NDArray[Any]] = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "b": np.array(7, np.int64),
    }
    checkpoints.write_folder(store, "models/a", {"t": checkpoints.from_tensors(tensors)}, {})
    read = checkpoints.read_tensors(store, "models/a", "t")
    assert set(read) == {"a", "b"}
    for name, array in tensors.items():
        np.testing.assert_array_equal(read[name], array, strict=True)  # shape and type too


@pytest.mark.parametrize("damage", [b"w3", b"", b"w1 and more"])
def test_a_file_that_was_changed_is_damaged(store: LocalStore, damage: bytes) -> None:
    checkpoints.write_folder(store, "models/a", {"x": b"w1"}, {})
    assert checkpoints.fetch_checked(store, "models/a", "x").read_bytes() == b"w1"
    store.put("models/a/x", damage)
    with pytest.raises(Damaged, match="models/a/x"):
        checkpoints.fetch_checked(store, "models/a", "x")


def test_the_newest_epoch_of_the_newest_attempt_is_gone_on_from(
    db: Database, store: LocalStore, claimed: Claimed
) -> None:
    claim = claimed()
    assert newest(db, store, claim) is None
    for attempt, epoch in ((1, 1), (1, 2), (2, 2), (1, 10)):
        save(db, store, claim, epoch, attempt)
    assert newest(db, store, claim) == "ckpt_2_2"
    with db.read() as session:
        rows = checkpoints.of_job(session, claim.job_id)
    assert [row.id for row in rows] == ["ckpt_2_2", "ckpt_1_10", "ckpt_1_2", "ckpt_1_1"]


@pytest.mark.parametrize("harm", ["manifest.json", "weights.safetensors", "more", "changed"])
def test_a_checkpoint_that_is_not_whole_is_passed_over(
    db: Database, store: LocalStore, claimed: Claimed, harm: str
) -> None:
    claim = claimed()
    save(db, store, claim, 1)
    broken = save(db, store, claim, 2)
    if harm == "changed":
        store.put(f"{broken.key}/more", b"x")
    else:
        store.fetch(f"{broken.key}/{harm}").unlink()
    assert newest(db, store, claim) == "ckpt_1_1"


def test_a_folder_that_the_disk_has_no_room_for_leaves_nothing(settings: Settings) -> None:
    class Full(LocalStore):
        def put(self, key: str, data: bytes) -> None:
            if key.endswith("second"):
                raise OSError(errno.ENOSPC, "No space left on device")
            super().put(key, data)

    with pytest.raises(OSError, match="No space left"):
        checkpoints.write_folder(Full(settings.data_dir), "jobs/a/1", {"first": b"1", "second": b"2"}, {})
    assert not (settings.data_dir / "jobs" / "a" / "1").exists()


def test_json_has_no_numbers_that_others_cannot_read() -> None:
    assert json.loads(checkpoints.to_json({"loss": 1.5})) == {"loss": 1.5}
    with pytest.raises(ValueError, match="JSON compliant"):
        checkpoints.to_json({"loss": float("nan")})
