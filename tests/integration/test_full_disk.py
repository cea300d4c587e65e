"""A disk that fills up during a checkpoint and a publication.

The data directory is a small disk of memory.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.db.tables import Model
from core.settings import Settings
from tests.integration.conftest import Programs, wait_for
from tests.support.disks import fill, small_disk

DISK, LEAST = "64m", 8 * 2**20
# what it writes: checkpoints of 3 + 8.5 MiB, models of 2.8 + 2.8 MiB
RECIPE = {"network": "squeezenet1_1", "epochs": 1}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK) as folder:
        yield folder


@pytest.fixture
def settings(disk: Path) -> Settings:
    """Let `published` write there."""
    return Settings(data_dir=disk)


@pytest.fixture
def serving(disk: Path, published: Callable[..., Model]) -> Iterator[Programs]:
    """Service and worker on that disk, with a model that answers."""
    model = published()
    programs = Programs(disk)
    programs.environment |= {"TUNESERVE_MIN_FREE_BYTES": str(LEAST)}
    programs.start("service")
    programs.start("worker")
    programs.served(model.id)
    yield programs
    programs.stop()


def fails_and_is_retried(programs: Programs, disk: Path, job_id: str, filler: Path) -> None:
    """Check that a job fails with disk_full and its retry succeeds.

    It says why; what serves goes on; nothing is left of what was half written; with room again it succeeds.
    """
    before = programs.predicting()
    error = programs.ended(job_id)["error"]
    assert error["code"] == "disk_full", error
    assert "TUNESERVE_DATA_DIR" in error["hint"]
    assert programs.predicting() == before
    assert programs.http.get("/readyz").json()["failing"] == ["disk"]
    whole = {path.parent for path in disk.rglob("manifest.json")}
    assert {path.parent for path in disk.rglob("*.safetensors")} == whole
    assert programs.http.post(f"/jobs/{job_id}/retry").json()["code"] == "disk_full"

    filler.unlink()
    again = programs.http.post(f"/jobs/{job_id}/retry")
    assert again.status_code == 202, again.text
    job = programs.ended(again.json()["id"])
    assert job["status"] == "succeeded", job["error"]
    programs.served(job["model_id"])


def test_a_disk_that_is_full_in_the_middle_of_a_checkpoint(serving: Programs, disk: Path) -> None:
    job_id = serving.train(**RECIPE)
    wait_for(lambda: serving.job(job_id)["phase"], "the job to start")
    fails_and_is_retried(serving, disk, job_id, fill(disk, spare_mib=6))
    assert serving.checkpoints(job_id) == []


def test_a_disk_that_is_full_in_the_middle_of_publishing(serving: Programs, disk: Path) -> None:
    job_id = serving.train(**RECIPE)
    newest = serving.training(job_id) and serving.checkpoints(job_id)[0]["id"]
    fails_and_is_retried(serving, disk, job_id, fill(disk, spare_mib=4))
    (retried,) = [job for job in serving.jobs() if job["links"].get("retry_of") == f"/jobs/{job_id}"]
    assert retried["resumed_from"] == newest
