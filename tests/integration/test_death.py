"""kill -9 of trainer, worker and service during a job.

The job ends all the same, once, and says what happened.
"""

import os
import signal
from pathlib import Path

from tests.integration.conftest import Programs, kill, processes_with, wait_for

EPOCHS = 16  # enough that no attempt ends before it is killed


def gapless(programs: Programs, job_id: str) -> bool:
    numbers = [event["id"] for event in programs.events(job_id)]
    return numbers == list(range(1, len(numbers) + 1))


def saved_by(programs: Programs, job_id: str, attempt: int) -> bool:
    return any(checkpoint["attempt"] == attempt for checkpoint in programs.checkpoints(job_id))


def test_a_job_goes_on_from_its_last_checkpoint_whatever_was_killed_or_hangs(unattended: Programs) -> None:
    unattended.start("worker", TUNESERVE_STALL_TIMEOUT_S="30")  # to start takes 6 s, or 20 beside other tests
    job_id = unattended.train(epochs=EPOCHS, max_attempts=10)
    unattended.training(job_id, epoch=1)
    kill(unattended.trainer_pid(job_id))
    wait_for(lambda: saved_by(unattended, job_id, attempt=2), "the second attempt's first epoch")
    os.kill(unattended.trainer_pid(job_id), signal.SIGSTOP)

    wait_for(lambda: saved_by(unattended, job_id, attempt=3), "the third attempt's first epoch")
    trainer = unattended.trainer_pid(job_id)
    unattended.kill("worker")
    wait_for(lambda: not Path(f"/proc/{trainer}").exists(), "the orphaned trainer to die")
    wait_for(lambda: unattended.job(job_id)["status"] == "queued", "the job to be queued again, with no worker left")

    unattended.start("worker")
    wait_for(lambda: unattended.job(job_id)["attempt"] == 4, "the next worker to go on")
    unattended.kill("service")
    unattended.start("service")
    job = unattended.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 4), job["error"]
    assert job["resumed_from"] is not None
    unattended.served(job["model_id"])
    epochs = [event["data"]["epoch"] for event in unattended.events(job_id) if event["event"] == "metrics"]
    assert epochs == sorted(epochs)
    assert set(epochs) == set(range(1, EPOCHS + 1))
    assert gapless(unattended, job_id)


def test_a_worker_told_to_stop_hands_its_job_back_and_a_trainer_killed_at_its_last_attempt_fails_it(
    running: Programs,
) -> None:
    job_id = running.train(epochs=500, max_attempts=1)
    running.training(job_id)
    worker = running.newest["worker"]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    job = running.job(job_id)
    assert (job["status"], job["error"]) == ("queued", None)

    running.start("worker")
    kill(wait_for(lambda: processes_with(job_id), f"the next trainer of {job_id}")[0])
    error = running.ended(job_id)["error"]
    assert error["code"] == "killed"
    assert "SIGKILL" in error["message"]


def test_two_workers_share_the_queue_and_no_job_runs_twice(unattended: Programs) -> None:
    waiting = [unattended.train(epochs=1) for _ in range(2)]
    for _ in waiting:
        unattended.start("worker")
    ended = [unattended.ended(job_id) for job_id in waiting]
    assert [(job["status"], job["attempt"]) for job in ended] == [("succeeded", 1)] * 2
    assert len({job["model_id"] for job in ended}) == 2
