"""Each failure of a job is provoked and has its code.

Killed is in test_death, timeout in test_control, disk_full in test_full_disk.
"""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.db.database import Database
from core.db.tables import Job, JobStatus
from core.repositories.jobs import Claim
from core.settings import Settings
from tests.integration.conftest import TINY, Programs, wait_for
from tests.support.photofiles import write_photos
from worker import trainer
from worker.attempt.reporter import Reporter

# nothing of it is small: each activation takes hundreds of MB
LARGE = {"network": "squeezenet1_1", "epochs": 1}
SPARE_BYTES = 600 * 2**20

Claimed = Callable[..., Claim]
ErrorOf = Callable[[Claim], dict[str, Any]]


def leave_memory(pid: int, spare_bytes: int) -> None:
    """Limit a process to its present memory and some spare bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize() + spare_bytes, resource.RLIM_INFINITY))


def in_little_memory(programs: Programs, **recipe: Any) -> str:
    """Start a job whose trainer has little memory left.

    The memory goes once the trainer has imported what it needs.
    """
    job_id = programs.train(**LARGE, **recipe)
    wait_for(lambda: programs.job(job_id)["phase"], f"{job_id} to start")
    leave_memory(programs.trainer_pid(job_id), SPARE_BYTES)
    return job_id


def halvings(programs: Programs, job_id: str) -> list[str]:
    messages = [event["data"].get("message", "") for event in programs.events(job_id) if event["event"] == "log"]
    return [message for message in messages if message.startswith("out of memory: batch size")]


def test_too_little_memory_of_the_host_halves_the_batch_and_the_job_succeeds(running: Programs) -> None:
    job_id = in_little_memory(running, train_samples=160, batch_size=160, image_size=128)
    told = wait_for(lambda: halvings(running, job_id), "the batch to be halved")
    assert "batch size 80," in told[0]
    leave_memory(running.trainer_pid(job_id), 2**40)
    job = running.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 1), job["error"]
    assert job["resolved_recipe"]["batch_size"] == 160 // 2 ** len(halvings(running, job_id))


def test_memory_that_is_too_small_for_any_batch_fails_with_out_of_memory(running: Programs) -> None:
    error = running.ended(in_little_memory(running, batch_size=3, image_size=1024))["error"]
    assert error["code"] == "out_of_memory"
    assert "image_size" in error["hint"]
    assert "Traceback" in error["traceback_tail"]


def test_a_job_whose_only_worker_is_killed_at_its_last_attempt_fails_with_worker_lost(running: Programs) -> None:
    job_id = running.train(epochs=500, max_attempts=1)
    wait_for(lambda: running.job(job_id)["phase"] == "training", "the job to train")
    running.kill("worker")
    error = running.ended(job_id)["error"]
    assert error["code"] == "worker_lost"
    assert "last heartbeat" in error["message"]


def test_a_trainer_that_cannot_even_start_fails_with_internal(unattended: Programs, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so is not for this machine')")
    unattended.start("worker", PYTHONPATH=str(tmp_path))
    job_id = unattended.train(max_attempts=1)
    error = unattended.ended(job_id)["error"]
    unattended.end("worker")
    assert (error["code"], "exit code 1" in error["message"]) == ("internal", True)
    assert "/logs" in error["hint"]
    assert "libtorch.so is not for this machine" in unattended.http.get(f"/jobs/{job_id}/logs").text


@pytest.fixture
def error_of(settings: Settings, db: Database, job_of: Callable[[str], Job]) -> ErrorOf:
    """Run an attempt in this process; return the error in its job's row.

    The tests above show that the service tells it; a process for each would import torch each time. Nothing is to be
    had from a mirror.
    """
    nowhere = "http://127.0.0.1:9/"
    ours = settings.model_copy(
        update={"train_threads": 1, "datasets_mirror": nowhere, "weights_mirror": nowhere, "train_niceness": 0}
    )

    def run(claim: Claim) -> dict[str, Any]:
        trainer._attempt(ours, db, Reporter(db, claim, 1.0))
        job = job_of(claim.job_id)
        assert job.status is JobStatus.FAILED
        return dict(job.error or {})

    return run


def test_a_broken_image_fails_the_job_with_its_name(settings: Settings, claimed: Claimed, error_of: ErrorOf) -> None:
    folder = settings.data_dir / "datasets" / "pets"
    for name in ("cat", "dog"):
        broken = Path(write_photos(folder / name, 8)[3])
        broken.write_bytes(broken.read_bytes()[:40])
    error = error_of(claimed(**TINY | {"dataset": "pets", "train_samples": None}))
    assert error["code"] == "dataset_invalid"
    assert "dog/003.png" in error["message"]


def test_a_rate_that_is_far_too_high_fails_with_loss_not_finite(claimed: Claimed, error_of: ErrorOf) -> None:
    recipe = {"learning_rate": 100, "optimizer": "sgd", "schedule": "constant", "warmup_fraction": 0, "epochs": 50}
    error = error_of(claimed(**TINY | recipe))
    assert error["code"] == "loss_not_finite"
    assert "learning_rate" in error["hint"]


def test_what_is_nowhere_fails_the_job_with_what_to_do(settings: Settings, claimed: Claimed, error_of: ErrorOf) -> None:
    data, weights = (error_of(claimed(**TINY | missing)) for missing in ({"dataset": "mnist"}, {"weights": "imagenet"}))
    assert (data["code"], weights["code"]) == ("dataset_unavailable", "weights_unavailable")
    assert "train-images-idx3-ubyte.gz" in data["hint"]
    assert str(settings.data_dir / "datasets" / "mnist") in data["hint"]
    assert "TUNESERVE_WEIGHTS_FILE" in weights["hint"]


def test_what_the_trainer_alone_can_refuse_fails_with_device_unavailable_or_invalid_recipe(
    claimed: Claimed, error_of: ErrorOf
) -> None:
    recipes = {"device": "cuda:99"}, {"freeze": "backbone", "unfreeze_after": 2, "epochs": 2}
    device, recipe = (error_of(claimed(**TINY | each)) for each in recipes)
    assert (device["code"], recipe["code"]) == ("device_unavailable", "invalid_recipe")
    assert "no cuda:99" in device["message"]
    assert '"device": "auto"' in device["hint"]
    assert "unfreeze_after" in recipe["message"]
    assert "POST the job again" in recipe["hint"]


def test_a_trainer_that_meets_what_nobody_thought_of_fails_with_internal(
    settings: Settings, claimed: Claimed, error_of: ErrorOf
) -> None:
    claim = claimed(**TINY | {"epochs": 1, "train_samples": 16})
    in_the_way = settings.data_dir / "jobs" / claim.job_id / "checkpoints"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_bytes(b"")  # where the checkpoints' folder is to be
    error = error_of(claim)
    assert error["code"] == "internal"
    assert error["message"].startswith("NotADirectoryError")
    assert "in save" in error["traceback_tail"]
