"""A batch whose process and worker are killed.

Every image has one line in the end.
"""

import json
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from core.db.tables import Model
from tests.integration.conftest import Programs, kill, wait_for
from tests.support.batchfiles import DIGITS, zip_of

COUNT = 320  # five chunks, of photos of digits that take a while to read


def send(programs: Programs) -> str:
    files = {f"{number:03d}.png": DIGITS[f"{number % 10}.png"] for number in range(COUNT - 1)} | {"no.png": b"none"}
    answer = programs.http.post("/batches", content=zip_of(files), headers={"Content-Type": "application/zip"})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def look(programs: Programs, batch_id: str) -> dict[str, Any]:
    batch: dict[str, Any] = programs.http.get(f"/batches/{batch_id}").json()
    return batch


def answered(programs: Programs, batch_id: str, least: int) -> dict[str, Any]:
    """The batch, once that many lines are stored."""
    return wait_for(lambda: batch if (batch := look(programs, batch_id))["done"] >= least else None, f"{least} answers")


def lines(programs: Programs, batch_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in programs.http.get(f"/batches/{batch_id}/results").text.splitlines()]


def test_a_batch_outlives_its_process_and_its_worker_and_goes_back_when_a_worker_stops(
    programs: Programs, published: Callable[..., Model]
) -> None:
    model_id = published().id
    programs.start("service")
    programs.start("worker")
    batch_id = send(programs)

    answered(programs, batch_id, least=1)
    kill(programs.trainer_pid(batch_id))
    batch = answered(programs, batch_id, least=100)
    assert (batch["status"], batch["attempt"]) == ("running", 2)
    programs.kill("worker")
    wait_for(lambda: look(programs, batch_id)["status"] == "queued", "the batch to wait again, with no worker left")
    so_far = lines(programs, batch_id)

    worker = programs.start("worker")
    batch = answered(programs, batch_id, least=COUNT)
    batch = wait_for(lambda: found if (found := look(programs, batch_id))["finished_at"] else None, "the batch to end")
    assert (batch["status"], batch["attempt"], batch["errors"]) == ("succeeded", 3, 1)
    found = lines(programs, batch_id)
    assert [line["index"] for line in found] == list(range(COUNT))
    assert found[: len(so_far)] == so_far
    assert found[-1] == {"index": COUNT - 1, "name": "no.png", "error": found[-1]["error"]}
    assert batch["model_id"] == model_id
    goes_back_when_the_worker_stops(programs, worker)


def goes_back_when_the_worker_stops(programs: Programs, worker: subprocess.Popen[bytes]) -> None:
    """Run a batch beside a training, then stop the worker of both."""
    job_id = programs.train(epochs=500)
    programs.training(job_id)
    batch_id = send(programs)
    answered(programs, batch_id, least=1)
    assert programs.job(job_id)["status"] == "running"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert programs.job(job_id)["status"] == "queued"
    batch = look(programs, batch_id)
    assert (batch["status"], batch["error"]) == ("queued", None)
