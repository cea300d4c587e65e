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


def fails(programs: Programs, disk: Path, job_id: str) -> None:
    """Check that a job fails with disk_full and says why.

    What serves goes on; nothing is left of what was half written; no retry is taken before there is room.
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


def retried(programs: Programs, job_id: str) -> str:
    again = programs.http.post(f"/jobs/{job_id}/retry")
    assert again.status_code == 202, again.text
    return str(again.json()["id"])


def test_a_disk_that_is_full_in_the_middle_of_a_checkpoint_then_of_publishing(serving: Programs, disk: Path) -> None:
    job_id = serving.train(**RECIPE)
    wait_for(lambda: serving.job(job_id)["phase"], "the job to start")
    filler = fill(disk, spare_mib=6)
    fails(serving, disk, job_id)
    assert serving.checkpoints(job_id) == []

    filler.unlink()
    second = retried(serving, job_id)
    newest = serving.training(second) and serving.checkpoints(second)[0]["id"]
    filler = fill(disk, spare_mib=4)
    fails(serving, disk, second)

    filler.unlink()
    job = serving.ended(retried(serving, second))
    assert (job["status"], job["resumed_from"]) == ("succeeded", newest), job["error"]
    serving.served(job["model_id"])
