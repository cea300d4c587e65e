"""kill -9 of trainer, worker and service during a job.

The job ends all the same, once, and says what happened.
"""

import os
import signal
from pathlib import Path

from tests.integration.conftest import Programs, kill, wait_for


def gapless(programs: Programs, job_id: str) -> bool:
    numbers = [event["id"] for event in programs.events(job_id)]
    return numbers == list(range(1, len(numbers) + 1))


def saved_by(programs: Programs, job_id: str, attempt: int) -> bool:
    return any(checkpoint["attempt"] == attempt for checkpoint in programs.checkpoints(job_id))


def test_a_trainer_that_is_killed_or_hangs_is_tried_again_from_its_last_checkpoint(programs: Programs) -> None:
    programs.start("service")
    programs.start("worker", TUNESERVE_STALL_TIMEOUT_S="30")  # to start takes 6 s, or 20 beside other tests
    job_id = programs.train(epochs=12)
    programs.training(job_id, epoch=1)
    kill(programs.trainer_pid(job_id))
    wait_for(lambda: saved_by(programs, job_id, attempt=2), "the second attempt's first epoch")
    os.kill(programs.trainer_pid(job_id), signal.SIGSTOP)

    job = programs.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 3), job["error"]
    assert job["resumed_from"] is not None
    epochs = [event["data"]["epoch"] for event in programs.events(job_id) if event["event"] == "metrics"]
    assert epochs == sorted(epochs)
    assert set(epochs) == set(range(1, 13))
    assert gapless(programs, job_id)


def test_a_trainer_killed_at_its_last_attempt_fails_the_job_with_the_signal(programs: Programs) -> None:
    programs.start("service")
    programs.start("worker")
    job_id = programs.train(epochs=500, max_attempts=1)
    programs.training(job_id)
    kill(programs.trainer_pid(job_id))
    error = programs.ended(job_id)["error"]
    assert error["code"] == "killed"
    assert "SIGKILL" in error["message"]


def test_a_killed_worker_takes_its_trainer_along_and_the_next_one_goes_on(programs: Programs) -> None:
    programs.start("service")
    worker = programs.start("worker")
    job_id = programs.train(epochs=12)
    programs.training(job_id, epoch=1)
    trainer = programs.trainer_pid(job_id)
    worker.kill()
    worker.wait()

    wait_for(lambda: not Path(f"/proc/{trainer}").exists(), "the orphaned trainer to die")
    wait_for(lambda: programs.job(job_id)["status"] == "queued", "the job to be queued again, with no worker left")
    programs.start("worker")
    job = programs.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2), job["error"]
    assert job["resumed_from"] is not None
    assert gapless(programs, job_id)


def test_a_killed_service_loses_nothing(programs: Programs) -> None:
    service = programs.start("service")
    programs.start("worker")
    job_id = programs.train(epochs=4)
    programs.training(job_id, epoch=1)
    service.kill()
    service.wait()
    programs.start("service")
    job = programs.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 1), job["error"]
    programs.served(job["model_id"])
    assert gapless(programs, job_id)


def test_a_worker_told_to_stop_hands_its_job_back(programs: Programs) -> None:
    programs.start("service")
    worker = programs.start("worker")
    job_id = programs.train(epochs=500, max_attempts=1)
    programs.training(job_id)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    job = programs.job(job_id)
    assert (job["status"], job["error"]) == ("queued", None)


def test_two_workers_share_the_queue_and_no_job_runs_twice(programs: Programs) -> None:
    programs.start("service")
    waiting = [programs.train(epochs=1) for _ in range(2)]
    for _ in waiting:
        programs.start("worker")
    ended = [programs.ended(job_id) for job_id in waiting]
    assert [(job["status"], job["attempt"]) for job in ended] == [("succeeded", 1)] * 2
    assert len({job["model_id"] for job in ended}) == 2
