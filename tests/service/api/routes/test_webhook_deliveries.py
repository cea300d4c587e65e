"""A job's webhook over HTTP: requested, delivered, listed, its secret never shown."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from core.db.tables import Job
from core.settings import Settings
from service.background import webhook_sender
from tests.conftest import NOW, running
from tests.support.fakes import answered
from tests.support.receiver import Answer, Receiver, receiving

Enqueue = Callable[..., Job]
SECRET = "whsec_" + "c2VjcmV0IG9mIGEgdGVzdCwgMjQgYnl0ZXM="


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
async def http(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """The service, which may call the receiver of these tests."""
    monkeypatch.setattr(webhook_sender, "POLL_S", 0.005)
    async with running(settings.model_copy(update={"webhook_allow_private": True})) as client:
        yield client


async def deliveries(http: httpx.AsyncClient, job_id: str, query: str = "") -> Any:
    return (await http.get(f"/jobs/{job_id}/deliveries{query}")).json()


async def test_a_posted_job_tells_its_end_to_the_receiver(http: httpx.AsyncClient, receiver: Receiver) -> None:
    job = (await http.post("/jobs", json={"webhook": {"url": receiver.url, "secret": SECRET}})).json()
    await http.post(f"/jobs/{job['id']}/cancel")

    async def delivered() -> bool:
        return any(row["completed_at"] for row in (await deliveries(http, job["id"]))["data"])

    await answered(delivered)
    (row,) = (await deliveries(http, job["id"]))["data"]
    (asked,) = receiver.asked
    body = Webhook(SECRET).verify(asked.body, asked.headers)
    assert (body["type"], body["data"]["job_id"], body["data"]["status"]) == ("job.done", job["id"], "cancelled")
    assert (row["id"], row["type"], row["attempts"]) == (asked.headers["webhook-id"], "job.done", 1)
    assert (row["error"], row["next_attempt_at"]) == (None, None)


async def test_a_delivery_that_failed_shows_why_and_when_it_comes_again(
    http: httpx.AsyncClient, receiver: Receiver
) -> None:
    receiver.answers = [Answer(500)]
    job = (await http.post("/jobs", json={"webhook": {"url": receiver.url, "events": ["status"]}})).json()

    async def tried() -> bool:
        return bool((await deliveries(http, job["id"]))["data"][0]["error"])

    await answered(tried)
    (row,) = (await deliveries(http, job["id"]))["data"]
    assert (row["type"], row["attempts"], row["completed_at"]) == ("job.status", 1, None)
    assert row["error"] == "The receiver answered 500."
    assert row["next_attempt_at"] > row["created_at"]


async def test_the_secret_is_shown_nowhere(http: httpx.AsyncClient) -> None:
    posted = await http.post("/jobs", json={"webhook": {"url": "https://hooks.example", "secret": SECRET}})
    path = posted.headers["location"]
    answers = [posted, *[await http.get(url) for url in ("/jobs", path, f"{path}/events", f"{path}/deliveries")]]
    answers.append(await http.post(f"{path}/cancel"))
    assert not [answer.url for answer in answers if SECRET in answer.text or not answer.is_success]
    assert posted.json()["links"]["deliveries"] == f"{path}/deliveries"
    assert posted.json()["recipe"]["webhook"] == {"url": "https://hooks.example", "events": ["done"], "secret": "***"}


async def test_what_was_shown_cannot_be_posted_as_the_secret(http: httpx.AsyncClient) -> None:
    answer = await http.post("/jobs", json={"webhook": {"url": "https://hooks.example", "secret": "***"}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/webhook/secret")
    wrong = {"webhook": {"url": "https://hooks.example", "secret": "whsec_" + "?" * 40}}
    assert "?" * 40 not in json.dumps((await http.post("/jobs", json=wrong)).json())


async def test_path_and_query_of_the_url_are_shown_nowhere(http: httpx.AsyncClient) -> None:
    for url, shown in (
        ("https://hooks.example/services/T0/s3cret", "https://hooks.example/***"),
        ("https://hooks.example:8443?token=s3cret", "https://hooks.example:8443/***"),
        ("https://hooks.example/", "https://hooks.example/"),
    ):
        posted = await http.post("/jobs", json={"webhook": {"url": url}})
        path = posted.headers["location"]
        answers = [posted, *[await http.get(one) for one in ("/jobs", path, f"{path}/events", f"{path}/deliveries")]]
        answers.append(await http.post(f"{path}/cancel"))
        assert not [answer.url for answer in answers if "s3cret" in answer.text or not answer.is_success]
        assert posted.json()["recipe"]["webhook"] == {"url": shown, "events": ["done"], "secret": None}


async def test_a_masked_url_cannot_be_posted(http: httpx.AsyncClient) -> None:
    answer = await http.post("/jobs", json={"webhook": {"url": "https://hooks.example/***"}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/webhook/url")


async def test_the_deliveries_come_in_pages_newest_first(settings: Settings, enqueue: Enqueue) -> None:
    job = enqueue(webhook={"url": "https://hooks.example", "events": ["status"]}, at=NOW + 10**8)  # due in years
    async with running(settings) as http:
        await http.post(f"/jobs/{job.id}/cancel")
        first = await deliveries(http, job.id, "?limit=1")
        second = await deliveries(http, job.id, f"?limit=1&after={first['next']}")
    assert [page["has_more"] for page in (first, second)] == [True, False]
    assert sorted([first["data"][0]["id"], second["data"][0]["id"]], reverse=True)[0] == first["data"][0]["id"]


async def test_a_job_that_is_not_there_has_no_deliveries(http: httpx.AsyncClient) -> None:
    assert (await http.get("/jobs/job_gone/deliveries")).status_code == 404
