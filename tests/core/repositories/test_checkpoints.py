"""core.repositories.checkpoints: a run goes on from its newest complete checkpoint."""

from collections.abc import Callable

import pytest

from core.artifacts import manifest
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Checkpoint
from core.repositories import checkpoints
from core.repositories.jobs import Claim
from tests.conftest import NOW

Claimed = Callable[..., Claim]


def save(db: Database, store: LocalStore, claim: Claim, epoch: int, attempt: int = 1) -> Checkpoint:
    key = f"jobs/{claim.job_id}/{attempt}/{epoch}"
    manifest.write_folder(store, key, {"weights.safetensors": b"w%d" % epoch, "more": b"m"}, {"epoch": epoch})
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
