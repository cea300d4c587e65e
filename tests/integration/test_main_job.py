"""The main job as a person does it: POST, follow, predict, train on.

Service, worker and training are real.
"""

from pathlib import Path

from tests.integration.asking import SEVEN, asked_meanwhile
from tests.integration.conftest import Programs
from tests.support.listener import Listener

DROPS = 20
PAUSE_S = 0.02  # of a client between two requests, so that the training has the processor


def test_a_posted_job_is_trained_and_its_model_answers_without_a_restart(programs: Programs) -> None:
    service = programs.start("service")
    assert programs.http.get("/readyz").status_code == 503
    programs.start("worker")

    job_id = programs.train(name="first", train_samples=64, epochs=15)
    twenty_dropped_connections_lose_and_double_nothing(programs, job_id)
    job = programs.ended(job_id)
    assert job["status"] == "succeeded", job["error"]
    assert job["progress"]["percent"] == 100
    assert len(list(programs.data_dir.glob(f"jobs/{job_id}/tensorboard/events.out.*"))) == 1
    assert {"train_loss", "validation_accuracy", "test_accuracy"} <= set(job["metrics"])
    assert {"queued_s", "preparing_s", "train_s", "evaluate_s", "publish_s", "total_s"} <= set(job["timing"])
    assert [phase["phase"] for phase in job["phases"]] == [
        "starting",
        "preparing_data",
        "training",
        "evaluating",
        "publishing",
    ]

    programs.served(job["model_id"])
    latest = programs.http.get("/models/digits@latest").json()
    assert latest["id"] == job["model_id"]
    assert latest["test_accuracy"] == job["metrics"]["test_accuracy"]
    answer = programs.http.post("/predict", files={"file": SEVEN}).json()
    assert answer["model"]["id"] == job["model_id"]
    assert answer["predictions"][0]["label"] in latest["classes"]

    with asked_meanwhile(programs, pause_s=PAUSE_S) as answers:
        second = programs.ended(programs.train(weights=job["model_id"], epochs=1))
        assert second["status"] == "succeeded", second["error"]
        programs.served(second["model_id"])
    assert answers.statuses == {200}
    libraries = Path(f"/proc/{service.pid}/maps").read_text()
    assert "onnxruntime" in libraries
    assert "libtorch" not in libraries
    ours = {programs.data_dir / "service.log", programs.data_dir / "worker.log"}
    written = {programs.data_dir, *programs.data_dir.rglob("*")} - ours
    assert not [path for path in written if path.stat().st_mode & 0o077]  # no other user reads any of it


def twenty_dropped_connections_lose_and_double_nothing(programs: Programs, job_id: str) -> None:
    """Follow a job that has just been posted, on one connection for each event, then on a last one."""
    listener = Listener(programs.url, job_id)
    for drop in range(1, DROPS + 1):
        listener.listen(at_most=1)
        assert len(listener.seen) == drop
        assert not listener.done
    listener.listen()
    assert listener.done
    assert listener.seen == [event["id"] for event in programs.events(job_id)]
    assert listener.seen == list(range(1, len(listener.seen) + 1))
