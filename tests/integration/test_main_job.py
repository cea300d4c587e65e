"""The main job as a person does it: POST, poll, predict.

Service, worker and training are real.
"""

from tests import ROOT
from tests.integration.conftest import Programs

DIGITS = ROOT / "tuneserve" / "digits"


def test_a_posted_job_is_trained_and_its_model_answers_without_a_restart(programs: Programs) -> None:
    programs.start("service")
    assert programs.http.get("/readyz").status_code == 503
    programs.start("worker")

    job = programs.ended(programs.train(name="first"))
    assert job["status"] == "succeeded", job["error"]
    assert job["progress"]["percent"] == 100
    assert len(list(programs.data_dir.glob(f"jobs/{job['id']}/tensorboard/events.out.*"))) == 1
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
    answer = programs.http.post("/predict", files={"file": (DIGITS / "7.png").read_bytes()}).json()
    assert answer["model"]["id"] == job["model_id"]
    assert answer["predictions"][0]["label"] in latest["classes"]

    second = programs.ended(programs.train(weights=job["model_id"], epochs=1))
    assert second["status"] == "succeeded", second["error"]
    programs.served(second["model_id"])
    ours = {programs.data_dir / "service.log", programs.data_dir / "worker.log"}
    written = {programs.data_dir, *programs.data_dir.rglob("*")} - ours
    assert not [path for path in written if path.stat().st_mode & 0o077]  # no other user reads any of it


def test_what_is_nowhere_fails_the_job_with_what_to_do(programs: Programs) -> None:
    programs.start("service")
    nowhere = "http://127.0.0.1:9/"
    programs.start("worker", TUNESERVE_DATASETS_MIRROR=nowhere, TUNESERVE_WEIGHTS_MIRROR=nowhere)
    jobs = programs.train(dataset="mnist"), programs.train(weights="imagenet")
    data, weights = (programs.ended(job)["error"] for job in jobs)
    assert (data["code"], weights["code"]) == ("dataset_unavailable", "weights_unavailable")
    assert "train-images-idx3-ubyte.gz" in data["hint"]
    assert str(programs.data_dir / "datasets" / "mnist") in data["hint"]
    assert "TUNESERVE_WEIGHTS_FILE" in weights["hint"]
