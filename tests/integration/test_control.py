"""Pause, resume, keep and a time limit, on a real service."""

from core.db.database import Database
from core.repositories import jobs
from core.settings import Settings
from tests.integration.conftest import Programs, wait_for


def ask(programs: Programs, job_id: str, verb: str) -> None:
    answer = programs.http.post(f"/jobs/{job_id}/{verb}")
    assert answer.status_code == 202, answer.text


def test_a_job_paused_within_an_epoch_goes_on_from_there(running: Programs) -> None:
    job_id = running.train(epochs=8)
    running.training(job_id, epoch=1)
    ask(running, job_id, "pause")
    wait_for(lambda: running.job(job_id)["status"] == "paused", "the job to rest")
    newest = running.checkpoints(job_id)[0]
    ask(running, job_id, "resume")
    job = running.ended(job_id)
    assert (job["status"], job["attempt"], job["resumed_from"]) == ("succeeded", 2, newest["id"]), job["error"]
    epochs = [event["data"]["epoch"] for event in running.events(job_id) if event["event"] == "metrics"]
    assert epochs == list(range(1, 9))


def test_a_cancelled_job_keeps_its_best_epoch_as_a_model(running: Programs) -> None:
    job_id = running.train(epochs=500)
    running.training(job_id, epoch=1)
    ask(running, job_id, "cancel?keep=true")
    job = running.ended(job_id)
    assert (job["status"], job["error"]) == ("cancelled", None)
    running.served(job["model_id"])


def test_a_job_over_its_time_fails_with_timeout_and_a_retry_goes_on_until_it_is_cancelled(running: Programs) -> None:
    job_id = running.train(epochs=500, time_limit_s=3600)
    running.training(job_id, epoch=1)
    db = Database(Settings(data_dir=running.data_dir).resolved_database_url)
    with db.write() as session:
        jobs.get(session, job_id).ran_s = 3600  # as if earlier attempts had taken so long
    db.close()
    job = running.ended(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "timeout")
    newest = running.checkpoints(job_id)[0]
    again = running.http.post(f"/jobs/{job_id}/retry").json()["id"]
    wait_for(lambda: running.job(again)["resumed_from"] == newest["id"], "the retry to go on")
    running.training(again)
    assert running.http.post(f"/jobs/{again}/cancel").json()["status"] == "cancelling"
    assert running.ended(again)["status"] == "cancelled"
    assert running.http.post(f"/jobs/{again}/cancel").status_code == 409
