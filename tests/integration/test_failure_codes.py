"""Each failure of a job is provoked and has its code.

Those of data and weights that are nowhere are in test_main_job, killed in test_death, timeout in test_control,
disk_full in test_full_disk.
"""

import resource
from pathlib import Path
from typing import Any

from tests.integration.conftest import Programs, wait_for
from tests.support.photofiles import write_photos

# nothing of it is small: each activation takes hundreds of MB
LARGE = {"network": "squeezenet1_1", "epochs": 1}
SPARE_BYTES = 600 * 2**20


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
    job_id = in_little_memory(running, train_samples=512, batch_size=460, image_size=128)
    told = wait_for(lambda: halvings(running, job_id), "the batch to be halved")
    assert "batch size 230," in told[0]
    leave_memory(running.trainer_pid(job_id), 2**40)
    job = running.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 1), job["error"]
    assert job["resolved_recipe"]["batch_size"] == 460 // 2 ** len(halvings(running, job_id))


def test_memory_that_is_too_small_for_any_batch_fails_with_out_of_memory(running: Programs) -> None:
    error = running.ended(in_little_memory(running, batch_size=3, image_size=1024))["error"]
    assert error["code"] == "out_of_memory"
    assert "image_size" in error["hint"]
    assert "Traceback" in error["traceback_tail"]


def test_a_broken_image_fails_the_job_with_its_name(running: Programs) -> None:
    folder = running.data_dir / "datasets" / "pets"
    for name in ("cat", "dog"):
        broken = Path(write_photos(folder / name, 8)[3])
    broken.write_bytes(broken.read_bytes()[:40])
    error = running.ended(running.train(dataset="pets", train_samples=None))["error"]
    assert error["code"] == "dataset_invalid"
    assert "dog/003.png" in error["message"]


def test_a_rate_that_is_far_too_high_fails_with_loss_not_finite(running: Programs) -> None:
    recipe = {"learning_rate": 100, "optimizer": "sgd", "schedule": "constant", "warmup_fraction": 0, "epochs": 50}
    error = running.ended(running.train(network="squeezenet1_1", **recipe))["error"]
    assert error["code"] == "loss_not_finite"
    assert "learning_rate" in error["hint"]


def test_a_job_whose_only_worker_is_killed_at_its_last_attempt_fails_with_worker_lost(programs: Programs) -> None:
    programs.start("service")
    worker = programs.start("worker")
    job_id = programs.train(epochs=500, max_attempts=1)
    wait_for(lambda: programs.job(job_id)["phase"] == "training", "the job to train")
    worker.kill()
    worker.wait()
    error = programs.ended(job_id)["error"]
    assert error["code"] == "worker_lost"
    assert "last heartbeat" in error["message"]


def test_what_the_trainer_alone_can_refuse_fails_with_device_unavailable_or_invalid_recipe(running: Programs) -> None:
    ids = running.train(device="cuda:99"), running.train(freeze="backbone", unfreeze_after=2, epochs=2)
    device, recipe = (running.ended(job_id)["error"] for job_id in ids)
    assert (device["code"], recipe["code"]) == ("device_unavailable", "invalid_recipe")
    assert "no cuda:99" in device["message"]
    assert '"device": "auto"' in device["hint"]
    assert "unfreeze_after" in recipe["message"]
    assert "POST the job again" in recipe["hint"]


def test_a_trainer_that_meets_what_nobody_thought_of_fails_with_internal(programs: Programs) -> None:
    programs.start("service")
    job_id = programs.train(epochs=1, train_samples=16)
    in_the_way = programs.data_dir / "jobs" / job_id / "checkpoints"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_bytes(b"")  # where the checkpoints' folder is to be
    programs.start("worker")
    error = programs.ended(job_id)["error"]
    assert error["code"] == "internal"
    assert error["message"].startswith("NotADirectoryError")
    assert "in save" in error["traceback_tail"]


def test_a_trainer_that_cannot_even_start_fails_with_internal(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torch.py").write_text("raise ImportError('libtorch.so is not for this machine')")
    programs.start("service")
    programs.start("worker", PYTHONPATH=str(tmp_path / "broken"))
    job_id = programs.train(max_attempts=1)
    error = programs.ended(job_id)["error"]
    assert (error["code"], "exit code 1" in error["message"]) == ("internal", True)
    assert "/logs" in error["hint"]
    assert "libtorch.so is not for this machine" in programs.http.get(f"/jobs/{job_id}/logs").text
