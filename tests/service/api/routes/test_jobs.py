"""Jobs over HTTP: POST one, watch it, stop it."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import pytest

from core.artifacts.manifest import write_folder
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Checkpoint, Job, Model
from core.errors import Killed
from core.repositories import events, jobs
from core.repositories.jobs import Claim
from core.settings import Settings
from service.api import event_stream, long_polling
from service.api.routes.jobs import records
from tests.conftest import NOW, running
from tests.support.fakes import answered
from tests.support.keys import bearer, with_keys

Enqueue = Callable[..., Job]
Claimed = Callable[..., Claim]
Published = Callable[..., Model]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings under which nobody looks for lost workers meanwhile.

    Claims of these tests were made long ago or far ahead.
    """
    return settings.model_copy(update={"heartbeat_interval_s": 3600.0})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "POLL_S", 0.005)
    monkeypatch.setattr(long_polling, "POLL_S", 0.005)


def end(db: Database, claim: Claim) -> None:
    with db.write() as session:
        error = {"code": "killed", "message": "by SIGKILL", "hint": "Less.", "traceback_tail": ""}
        jobs.fail(session, claim, error, NOW + 5)


def parse_stream(text: str) -> list[dict[str, str]]:
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    return [dict(line.split(": ", 1) for line in block) for block in blocks]


# -- POST


async def test_an_empty_body_is_a_job(http: httpx.AsyncClient) -> None:
    answer = await http.post("/jobs", json={})
    job = answer.json()
    assert (answer.status_code, job["status"]) == (202, "queued")
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) > 0
    assert (await http.get(answer.headers["location"])).json() | {"warnings": []} == job


async def test_a_job_shows_what_was_asked_for(http: httpx.AsyncClient) -> None:
    recipe = {"name": "mine", "dataset": "digits", "weights": "random", "metadata": {"team": "a"}}
    job = (await http.post("/jobs", json=recipe)).json()
    assert (job["name"], job["metadata"]) == ("mine", {"team": "a"})
    assert job["recipe"].items() >= recipe.items()
    assert (job["error"], job["model_id"], job["started_at"]) == (None, None, None)
    assert datetime.fromisoformat(job["created_at"]).utcoffset() is not None


async def test_every_link_of_a_job_leads_somewhere(http: httpx.AsyncClient) -> None:
    job = (await http.post("/jobs", json={})).json()
    statuses = {name: (await http.get(link)).status_code for name, link in job["links"].items()}
    assert statuses == {"self": 200, "events": 200, "logs": 404, "checkpoints": 200}  # no log: it has not run


async def test_names_hold_no_character_that_is_not_seen(http: httpx.AsyncClient) -> None:
    """Names with invisible characters are refused.

    Names of metadata must have none either; their values may be of several lines.
    """
    for sign, escape in {"\x1b": r"\x1b", "\x85": r"\x85", "\u202e": r"\u202e", "\u200b": r"\u200b"}.items():
        for body, pointer in (
            ({"name": f"a{sign}"}, "/name"),
            ({"metadata": {f"a{sign}": ""}}, f"/metadata/a{sign}/[key]"),
        ):
            refused = await http.post("/jobs", json=body)
            (error,) = refused.json()["errors"]
            assert (refused.status_code, error["pointer"], escape in error["detail"]) == (422, pointer, True)
            assert refused.json()["detail"].isprintable()
    assert (await http.post("/jobs", json={"name": "lundi é 猫", "metadata": {"note": "a\nb"}})).status_code == 202


async def test_every_wrong_field_is_named_at_once(http: httpx.AsyncClient) -> None:
    answer = await http.post("/jobs", json={"epochs": 0, "network": "resnet5O", "epoch": 3, "metadata": {"a/b": 1}})
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.json()["errors"]} == {
        "/epochs",
        "/network",
        "/epoch",
        "/metadata/a~1b",
    }
    assert (await http.get("/jobs")).json()["data"] == []


async def test_weights_of_a_model_that_is_gone_are_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/jobs", json={"weights": "model_gone"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/weights")


async def test_a_job_can_go_on_from_a_model(http: httpx.AsyncClient, published: Published) -> None:
    answer = await http.post("/jobs", json={"weights": published().id, "network": "resnet18"})
    assert answer.status_code == 202


async def test_weights_of_another_network_are_refused_before_any_training(
    http: httpx.AsyncClient, published: Published
) -> None:
    refusal = (await http.post("/jobs", json={"weights": published().id, "network": "resnet50"})).json()
    assert (refusal["status"], refusal["errors"][0]["pointer"]) == (422, "/weights")
    assert "is a resnet18 and the recipe's network is resnet50" in refusal["detail"]


async def test_a_full_queue_asks_to_come_again(settings: Settings) -> None:
    async with running(settings.model_copy(update={"max_queued_jobs": 1})) as http:
        await http.post("/jobs", json={})
        answer = await http.post("/jobs", json={})
    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
    assert int(answer.headers["retry-after"]) > 0


async def test_one_key_does_not_fill_the_queue(settings: Settings, claimed: Claimed, db: Database) -> None:
    """One key's waiting jobs are bounded.

    Paused jobs of it count too, and a retry; other keys have room of their own.
    """
    claim = claimed()
    with db.write() as session:
        jobs.fail(session, claim, jobs.describe(Killed()), NOW)
    async with running(with_keys(settings).model_copy(update={"max_queued_jobs_per_key": 2})) as http:

        async def post(name: str, path: str = "") -> httpx.Response:
            return await http.post(f"/jobs{path}", json={}, headers=bearer(name))

        first = (await post("trainer")).json()["id"]
        retried = await post("trainer", f"/{claim.job_id}/retry")
        assert (await post("trainer", f"/{first}/pause")).status_code == 202
        refused = [await post("trainer"), await post("trainer", f"/{claim.job_id}/retry")]
        other = await post("trainer2")
    assert (retried.status_code, other.status_code) == (202, 202)
    assert [(answer.status_code, answer.headers["retry-after"]) for answer in refused] == [(429, "60")] * 2
    assert refused[0].json()["detail"] == "2 jobs of this API key are waiting already."


async def test_a_body_that_is_too_large_is_refused(settings: Settings) -> None:
    async with running(settings.model_copy(update={"max_body_bytes": 100})) as http:
        answer = await http.post("/jobs", json={"name": "x" * 100})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


# -- lists


async def test_the_list_is_newest_first_and_its_pages_meet(http: httpx.AsyncClient, enqueue: Enqueue) -> None:
    made = [enqueue(at=NOW + second).id for second in range(5)]
    seen: list[str] = []
    page: dict[str, Any] = {"next": None, "has_more": True}
    while page["has_more"]:
        after = {} if page["next"] is None else {"after": page["next"]}
        page = (await http.get("/jobs", params={"limit": 2, **after})).json()
        seen += [job["id"] for job in page["data"]]
    assert (seen, page["next"]) == (made[::-1], None)


async def test_the_list_can_be_filtered(http: httpx.AsyncClient, enqueue: Enqueue, claimed: Claimed) -> None:
    started = claimed(dataset="digits").job_id
    waiting = enqueue(dataset="mnist").id
    for query, wanted in (("status=running", started), ("dataset=digits", started), ("status=queued", waiting)):
        assert [job["id"] for job in (await http.get(f"/jobs?{query}")).json()["data"]] == [wanted]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "status=done", "after=" + "x" * 65])
async def test_a_parameter_that_means_nothing_is_refused(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "query/" + query.split("=")[0]


@pytest.mark.parametrize("rest", ["", "/events", "/metrics", "/logs", "/checkpoints", "/checkpoints/x/content"])
async def test_a_job_that_is_not_there_is_not_found(http: httpx.AsyncClient, rest: str) -> None:
    for headers in ({}, {"Accept": "text/event-stream"}):
        answer = await http.get(f"/jobs/job_none{rest}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "job_none" in answer.json()["detail"]


# -- one job


async def test_waiting_ends_when_the_job_ends(
    http: httpx.AsyncClient, db: Database, claimed: Claimed, quick: None
) -> None:
    claim = claimed()
    waiting = asyncio.create_task(http.get(f"/jobs/{claim.job_id}?wait=60"))
    assert (await http.get(f"/jobs/{claim.job_id}?wait=0.01")).json()["status"] == "running"
    assert not waiting.done()
    end(db, claim)
    assert (await waiting).json()["status"] == "failed"


async def test_waiting_is_over_when_the_time_is(http: httpx.AsyncClient, enqueue: Enqueue, quick: None) -> None:
    job = enqueue()
    assert (await http.get(f"/jobs/{job.id}?wait=0.02")).json()["status"] == "queued"


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "inf", "soon"])
async def test_waiting_for_ever_is_refused(http: httpx.AsyncClient, enqueue: Enqueue, wait: str) -> None:
    answer = await http.get(f"/jobs/{enqueue().id}?wait={wait}")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "query/wait")


async def test_a_failed_job_says_why_and_what_to_do(http: httpx.AsyncClient, db: Database, claimed: Claimed) -> None:
    claim = claimed()
    end(db, claim)
    job = (await http.get(f"/jobs/{claim.job_id}")).json()
    assert (job["error"]["code"], job["error"]["hint"]) == ("killed", "Less.")
    assert job["finished_at"] == "2027-01-15T08:00:05Z"


async def test_a_job_that_succeeded_leads_to_its_model(
    http: httpx.AsyncClient, db: Database, claimed: Claimed, published: Published
) -> None:
    claim, model = claimed(), published()
    with db.write() as session:
        jobs.succeed(session, claim, model.id, NOW, metrics={"test_accuracy": 0.9})
    job = (await http.get(f"/jobs/{claim.job_id}")).json()
    assert (job["status"], job["model_id"], job["metrics"]) == ("succeeded", model.id, {"test_accuracy": 0.9})
    assert (await http.get(job["links"]["model"])).json()["id"] == model.id


async def test_a_job_whose_worker_is_lost_is_queued_again(settings: Settings, db: Database, claimed: Claimed) -> None:
    claim = claimed(at=time.time() - 3600)
    async with running(settings.model_copy(update={"heartbeat_interval_s": 0.01})) as http:

        async def queued() -> bool:
            return bool((await http.get(f"/jobs/{claim.job_id}")).json()["status"] == "queued")

        await answered(queued)


# -- cancel


async def test_a_waiting_job_is_cancelled_at_once(http: httpx.AsyncClient, enqueue: Enqueue) -> None:
    job = enqueue()
    answer = await http.post(f"/jobs/{job.id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    assert answer.json()["finished_at"] is not None


async def test_a_running_job_is_asked_to_stop_once_or_often(http: httpx.AsyncClient, claimed: Claimed) -> None:
    claim = claimed()
    for _ in range(2):
        answer = await http.post(f"/jobs/{claim.job_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")


async def test_an_ended_job_cannot_be_cancelled(http: httpx.AsyncClient, db: Database, claimed: Claimed) -> None:
    claim = claimed()
    end(db, claim)
    answer = await http.post(f"/jobs/{claim.job_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "failed" in answer.json()["detail"]


async def test_a_job_that_is_not_there_cannot_be_cancelled(http: httpx.AsyncClient) -> None:
    assert (await http.post("/jobs/job_none/cancel")).status_code == 404


# -- events


async def test_events_come_in_pages(http: httpx.AsyncClient, db: Database, claimed: Claimed) -> None:
    claim = claimed()
    with db.write() as session:
        events.append(session, claim.job_id, "log", {"message": "hello"}, NOW)
    first = (await http.get(f"/jobs/{claim.job_id}/events?limit=2")).json()
    rest = (await http.get(f"/jobs/{claim.job_id}/events?after={first['next']}")).json()
    assert [event["id"] for event in first["data"] + rest["data"]] == [1, 2, 3]
    assert (first["has_more"], rest["has_more"], rest["next"]) == (True, False, None)
    assert rest["data"][0] == {"id": 3, "at": "2027-01-15T08:00:00Z", "event": "log", "data": {"message": "hello"}}


@pytest.mark.parametrize("query", ["after=-1", "after=x", f"after={10**30}", "limit=0", "limit=1001"])
async def test_a_place_in_the_log_that_cannot_be_is_refused(
    http: httpx.AsyncClient, enqueue: Enqueue, query: str
) -> None:
    assert (await http.get(f"/jobs/{enqueue().id}/events?{query}")).status_code == 422


async def test_the_stream_replays_and_ends_with_done(http: httpx.AsyncClient, db: Database, claimed: Claimed) -> None:
    claim = claimed()
    end(db, claim)
    answer = await http.get(f"/jobs/{claim.job_id}/events", headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    sent = parse_stream(answer.text)
    assert [(one["id"], one["event"]) for one in sent] == [
        ("1", "status"),
        ("2", "status"),
        ("3", "status"),
        ("3", "done"),
    ]


async def test_the_stream_goes_on_where_it_was_cut_off(http: httpx.AsyncClient, db: Database, claimed: Claimed) -> None:
    claim = claimed()
    end(db, claim)
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "2"}
    answer = await http.get(f"/jobs/{claim.job_id}/events?after=1", headers=headers)
    assert [one["id"] for one in parse_stream(answer.text)] == ["3", "3"]


async def test_a_listener_that_comes_back_after_done_is_told_to_stay_away(
    http: httpx.AsyncClient, db: Database, claimed: Claimed
) -> None:
    claim = claimed()
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "3"}
    end(db, claim)
    answer = await http.get(f"/jobs/{claim.job_id}/events", headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await http.get("/jobs/job_none/events", headers=headers)).status_code == 404
    assert (await http.get(f"/jobs/{claim.job_id}/events?after=3", headers={"Accept": "text/event-stream"})).text


async def test_the_stream_is_live(http: httpx.AsyncClient, db: Database, claimed: Claimed, quick: None) -> None:
    claim = claimed()
    headers = {"Accept": "text/event-stream"}
    listening = asyncio.create_task(http.get(f"/jobs/{claim.job_id}/events?after=2", headers=headers))
    with db.write() as session:
        events.append(session, claim.job_id, "metrics", {"epoch": 1}, NOW)
    end(db, claim)
    assert [one["event"] for one in parse_stream((await listening).text)] == ["metrics", "status", "done"]


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 10, "²"])
async def test_an_event_id_that_cannot_be_is_refused(http: httpx.AsyncClient, enqueue: Enqueue, given: str) -> None:
    headers = {b"Accept": b"text/event-stream", b"Last-Event-ID": given.encode("latin-1")}
    answer = await http.get(f"/jobs/{enqueue().id}/events", headers=list(headers.items()))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "header/last-event-id")


async def test_the_history_has_one_record_an_epoch_the_latest_one(
    http: httpx.AsyncClient, db: Database, enqueue: Enqueue
) -> None:
    job = enqueue()
    with db.write() as session:
        for epoch, loss in ((1, 0.9), (2, 0.8), (2, 0.7), (3, 0.6)):
            events.append(session, job.id, "metrics", {"epoch": epoch, "train_loss": loss}, NOW)
    history = (await http.get(f"/jobs/{job.id}/metrics")).json()
    assert [(record["epoch"], record["train_loss"]) for record in history] == [(1, 0.9), (2, 0.7), (3, 0.6)]


async def test_within_epochs_the_history_has_steps_which_readers_of_epochs_can_leave_out(
    http: httpx.AsyncClient, db: Database, enqueue: Enqueue
) -> None:
    """The history has steps within epochs, which readers can leave out.

    There are two epochs of ten steps; the second attempt goes on after the first epoch, with half the batch.
    """
    job = enqueue()
    done = [("step", 4, 20), ("step", 10, 20), ("metrics", 1, 0), ("step", 14, 20), ("step", 18, 20), ("step", 26, 40)]
    with db.write() as session:
        for kind, at, of in done:
            place = {"epoch": at} if kind == "metrics" else {"epoch": 1, "epochs": 2, "step": at, "steps": of}
            events.append(session, job.id, kind, place, NOW)
    path = f"/jobs/{job.id}/metrics"
    assert [one.get("step") for one in (await http.get(path)).json()] == [4, None, 26]
    assert (await http.get(path, params={"steps": "false"})).json() == [{"epoch": 1}]


# -- logs and checkpoints


async def test_the_log_is_the_newest_attempts_unless_another_is_named(
    http: httpx.AsyncClient, settings: Settings, claimed: Claimed
) -> None:
    claim = claimed()
    for attempt, text in ((1, b"first \xff"), (7, b"seventh")):
        path = settings.log_path(claim.job_id, attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    newest = await http.get(f"/jobs/{claim.job_id}/logs")
    assert newest.headers["content-type"].startswith("text/plain")
    assert newest.text == "first \ufffd"
    assert (await http.get(f"/jobs/{claim.job_id}/logs?attempt=7")).text == "seventh"
    assert (await http.get(f"/jobs/{claim.job_id}/logs?attempt=2")).status_code == 404


async def test_of_a_long_log_the_end_is_shown(
    http: httpx.AsyncClient, settings: Settings, claimed: Claimed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "LOG_TAIL_BYTES", 10)
    claim = claimed()
    path = settings.log_path(claim.job_id, 1)
    path.parent.mkdir(parents=True)
    path.write_text("the beginning ... and the end")
    assert (await http.get(f"/jobs/{claim.job_id}/logs")).text == "nd the end"


async def test_a_log_is_read_on_from_where_it_was_read_to(
    http: httpx.AsyncClient, settings: Settings, claimed: Claimed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "LOG_TAIL_BYTES", 10)
    claim = claimed()
    path = settings.log_path(claim.job_id, 1)
    path.parent.mkdir(parents=True)
    written = "epoch 1: é\nepoch 2\n".encode()
    path.write_bytes(written)
    read = b""
    while piece := (await http.get(f"/jobs/{claim.job_id}/logs?after={len(read)}")).content:
        assert len(piece) <= 10
        read += piece
    assert read == written
    with path.open("ab") as file:
        file.write(b"epoch 3\n")
    assert (await http.get(f"/jobs/{claim.job_id}/logs?after={len(read)}")).text == "epoch 3\n"
    assert (await http.get(f"/jobs/{claim.job_id}/logs?after=9999")).text == ""
    assert (await http.get(f"/jobs/{claim.job_id}/logs?after=-1")).status_code == 422


@pytest.mark.parametrize("attempt", ["0", "-1", "x", "9" * 30])
async def test_an_attempt_that_cannot_be_is_refused(http: httpx.AsyncClient, enqueue: Enqueue, attempt: str) -> None:
    assert (await http.get(f"/jobs/{enqueue().id}/logs?attempt={attempt}")).status_code == 422


async def test_checkpoints_can_be_listed_and_downloaded(
    http: httpx.AsyncClient, db: Database, store: LocalStore, claimed: Claimed
) -> None:
    job_id = claimed().job_id
    for epoch in (1, 2):
        write_folder(store, f"checkpoints/{epoch}", {"weights.safetensors": b"w%d" % epoch}, {})
        about = {"metrics": {"train_loss": 0.5}, "size_bytes": 2, "created_at": NOW, "attempt": 1, "step": epoch}
        with db.write() as session:
            session.add(Checkpoint(id=f"ckpt_{epoch}", job_id=job_id, epoch=epoch, key=f"checkpoints/{epoch}", **about))
    listed = (await http.get(f"/jobs/{job_id}/checkpoints")).json()
    assert [(row["id"], row["epoch"], row["metrics"]) for row in listed] == [
        ("ckpt_2", 2, {"train_loss": 0.5}),
        ("ckpt_1", 1, {"train_loss": 0.5}),
    ]
    answer = await http.get(f"/jobs/{job_id}/checkpoints/ckpt_1/content")
    assert answer.content == b"w1"
    assert 'filename="ckpt_1.safetensors"' in answer.headers["content-disposition"]


async def test_a_checkpoint_of_another_job_is_not_found(
    http: httpx.AsyncClient, db: Database, store: LocalStore, enqueue: Enqueue
) -> None:
    mine, other = enqueue(), enqueue()
    write_folder(store, "checkpoints/1", {"weights.safetensors": b"w"}, {})
    row = {"metrics": {}, "size_bytes": 1, "created_at": NOW, "attempt": 1, "epoch": 1, "key": "checkpoints/1"}
    with db.write() as session:
        session.add(Checkpoint(id="ckpt_1", job_id=other.id, step=1, **row))
    assert (await http.get(f"/jobs/{mine.id}/checkpoints/ckpt_1/content")).status_code == 404
    assert (await http.get(f"/jobs/{other.id}/checkpoints/ckpt_1/content")).status_code == 200


async def test_a_rerun_is_a_job_with_the_models_recipe(
    http: httpx.AsyncClient, published: Callable[..., Model]
) -> None:
    published(dataset="digits", network="resnet18")
    answer = await http.post("/jobs", json={"rerun": "digits@best", "epochs": 3})
    recipe = answer.json()["recipe"]
    assert (answer.status_code, recipe["network"], recipe["epochs"], recipe["rerun"]) == (202, "resnet18", 3, "model_1")
    refusal = await http.post("/jobs", json={"rerun": "cats"})
    assert (refusal.status_code, refusal.json()["errors"][0]["pointer"]) == (422, "/rerun")
