"""service.background.clean_up: what is old goes by itself."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.artifacts.store import LocalStore
from core.db.database import Database
from core.repositories import batch_predictions
from core.repositories.batch_predictions import key_of
from core.settings import Settings
from service.background.clean_up import DAY_S, delete_old_batches
from tests.conftest import NOW, running
from tests.support.batchfiles import OPTIONS
from tests.support.fakes import answered

Ended = Callable[[str, float], Path]


@pytest.fixture
def ended(db: Database, store: LocalStore, settings: Settings) -> Ended:
    """A batch that ended then, with its folder."""

    def make(batch_id: str, at: float) -> Path:
        store.put(f"{key_of(batch_id)}/input/0", b"images")
        store.put(f"{key_of(batch_id)}/results/000000000.jsonl", b"answers")
        with db.write() as session:
            batch_predictions.enqueue(session, batch_id, OPTIONS, 1, at, queue_limit=10)
            batch_predictions.cancel(session, batch_id, at)
        return settings.data_dir / key_of(batch_id)

    return make


def left(db: Database) -> list[str]:
    with db.read() as session:
        return [batch.id for batch in batch_predictions.page(session, None, None, 10)[0]]


def test_a_batch_goes_with_its_files_so_long_after_its_end(db: Database, store: LocalStore, ended: Ended) -> None:
    old, new = ended("batch_1", NOW - 7 * DAY_S - 1), ended("batch_2", NOW - 7 * DAY_S + 1)
    delete_old_batches(db, store, 0, NOW)
    assert left(db) == ["batch_2", "batch_1"]
    delete_old_batches(db, store, 7 * DAY_S, NOW)
    assert left(db) == ["batch_2"]
    assert (old.exists(), new.exists()) == (False, True)


def test_a_deletion_that_was_cut_off_is_ended(db: Database, store: LocalStore, ended: Ended) -> None:
    folder = ended("batch_1", NOW)
    with db.write() as session:
        batch_predictions.delete_files(session, "batch_1", NOW)
    delete_old_batches(db, store, 0, NOW)
    assert (left(db), folder.exists()) == ([], False)


async def test_the_service_does_it_by_itself(settings: Settings, db: Database, ended: Ended) -> None:
    folder = ended("batch_1", 1.0)

    async def gone() -> bool:
        return left(db) == []

    async with running(settings.model_copy(update={"heartbeat_interval_s": 0.01})):
        await answered(gone)
    assert not folder.exists()
