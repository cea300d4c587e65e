"""worker.supervisor.garbage_collector: leftovers of killed processes go; used files stay."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from core.artifacts.batch_files import write_parts
from core.artifacts.manifest import write_folder
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Checkpoint, Job, Model
from core.repositories import batch_predictions, models
from core.repositories.jobs import Claim
from core.settings import Settings
from tests.conftest import NOW
from worker.supervisor.garbage_collector import EVERY_S, QUIET_S, GarbageCollector
from worker.supervisor.loop import WorkerLoop

LATER = NOW + QUIET_S + 1
Enqueue = Callable[..., Job]
Claimed = Callable[..., Claim]


@pytest.fixture
def bytes_of(settings: Settings, store: LocalStore) -> Callable[[str], Path]:
    """A function that writes a model's files at NOW, without a row."""

    def make(model_id: str) -> Path:
        write_folder(store, f"models/{model_id}", {"model.onnx": b"x"}, {})
        return aged(settings.data_dir / "models" / model_id)

    return make


def aged(folder: Path) -> Path:
    """Set files' last change to NOW."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (NOW, NOW))
    return folder


def sweep(settings: Settings, db: Database, at: float = LATER) -> None:
    GarbageCollector(settings, db, lambda: at).tend()


def model_of(job_id: str, attempt: int = 1) -> str:
    return f"model_{job_id.removeprefix('job_')}_{attempt}"


def test_the_bytes_of_a_model_whose_trainer_was_killed_go(
    settings: Settings, db: Database, enqueue: Enqueue, bytes_of: Callable[[str], Path]
) -> None:
    folder = bytes_of(model_of(enqueue().id))
    sweep(settings, db, NOW + QUIET_S - 1)
    assert folder.exists()  # for an hour nobody touches it
    sweep(settings, db)
    assert not folder.exists()


def test_what_an_attempt_may_still_publish_stays_and_what_those_before_it_left_goes(
    settings: Settings, db: Database, claimed: Claimed, bytes_of: Callable[[str], Path], job_of: Callable[[str], Job]
) -> None:
    claim = claimed()
    with db.write() as session:
        session.get_one(Job, claim.job_id).attempt = 2
    dead, alive = (bytes_of(model_of(claim.job_id, attempt)) for attempt in (1, 2))
    sweep(settings, db)
    assert (dead.exists(), alive.exists()) == (False, True)


def test_a_published_model_stays_and_one_that_is_half_deleted_goes(
    settings: Settings, db: Database, published: Callable[..., Model]
) -> None:
    for model in (published(), published()):
        aged(settings.data_dir / model.key)
    with db.write() as session:
        models.delete_files(session, "model_1", NOW)
    sweep(settings, db)
    assert [path.name for path in (settings.data_dir / "models").iterdir()] == ["model_2"]


def test_a_model_of_which_this_database_has_never_heard_stays(
    settings: Settings, db: Database, bytes_of: Callable[[str], Path]
) -> None:
    strange = bytes_of("model_of_another_database_1"), bytes_of("mine")
    sweep(settings, db)
    assert all(folder.exists() for folder in strange)


def test_a_half_uploaded_batch_goes_and_whole_ones_stay(settings: Settings, db: Database, store: LocalStore) -> None:
    root = settings.data_dir / "batches"
    for name in ("batch_half", "batch_mine", "batch_of_another_database"):
        (root / name / "input").mkdir(parents=True)
        (root / name / "input" / ".part-x").write_bytes(b"half of a zip")
    write_parts(store, "batches/batch_of_another_database", [])
    with db.write() as session:
        batch_predictions.enqueue(session, "batch_mine", {}, 1, NOW, 10)
    aged(root)
    os.utime(root / "batch_half" / "input" / ".part-x", (LATER, LATER))
    sweep(settings, db)
    assert len(list(root.iterdir())) == 3  # it is still arriving
    sweep(settings, db, LATER + QUIET_S + 1)
    assert {path.name for path in root.iterdir()} == {"batch_mine", "batch_of_another_database"}


def test_a_checkpoint_whose_trainer_was_killed_before_its_row_goes_and_those_with_rows_stay(
    settings: Settings, db: Database, store: LocalStore, claimed: Claimed
) -> None:
    job_id = claimed().job_id
    keys = [f"jobs/{name}/checkpoints/001/{step:08d}" for name, step in ((job_id, 4), (job_id, 8), ("job_else", 4))]
    for key in keys:
        write_folder(store, key, {"weights.safetensors": b"w"}, {})
    about = {"attempt": 1, "epoch": 1, "step": 4, "metrics": {}, "size_bytes": 1, "created_at": NOW}
    with db.write() as session:
        session.add(Checkpoint(id="ckpt_1", job_id=job_id, key=keys[0], **about))
    aged(settings.data_dir / "jobs")
    sweep(settings, db, NOW + QUIET_S - 1)
    assert [(settings.data_dir / key).exists() for key in keys] == [True, True, True]
    sweep(settings, db)
    assert [(settings.data_dir / key).exists() for key in keys] == [True, False, True]


def test_it_sweeps_once_an_hour(
    settings: Settings, db: Database, enqueue: Enqueue, bytes_of: Callable[[str], Path]
) -> None:
    now = [LATER]
    sweeping = GarbageCollector(settings, db, lambda: now[0])
    sweeping.tend()
    folder = bytes_of(model_of(enqueue().id))
    for now[0], left in ((LATER + EVERY_S - 1, True), (LATER + EVERY_S, False)):
        sweeping.tend()
        assert folder.exists() == left


def test_a_worker_sweeps_as_it_starts(
    settings: Settings, db: Database, enqueue: Enqueue, bytes_of: Callable[[str], Path]
) -> None:
    job = enqueue()
    with db.write() as session:
        session.get_one(Job, job.id).status = "paused"  # type: ignore[assignment]
    folder = bytes_of(model_of(job.id))
    WorkerLoop(settings, db, clock=lambda: LATER).step()
    assert not folder.exists()
