"""core.repositories.idempotency: an Idempotency-Key makes one thing, however often it is sent."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from core.db.database import Database
from core.db.tables import IdempotencyRecord, Job
from core.errors import Conflict, KeyReused, Overloaded
from core.recipes.recipe import Recipe
from core.repositories import idempotency, jobs
from core.repositories.idempotency import CreatedResponse, IdempotentRequest
from core.settings import Settings
from tests.conftest import EACH_DATABASE, NOW, running, url_of
from tests.support.fakes import answered, until
from tests.support.keys import bearer, with_keys

TWICE = {"Idempotency-Key": "order-66"}
JSON = {"Content-Type": "application/json"}
WANTED = IdempotentRequest("/jobs", "", "order-66", idempotency.digest({"epochs": 1}))


@pytest.fixture(params=EACH_DATABASE)
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


@pytest.fixture
async def http(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """The service without background queries to the database.

    psycopg warns of what is in use when the service ends.
    """
    monkeypatch.setattr("service.security.api_keys.REFRESH_S", 3600.0)
    still = {"database_url": database_url, "heartbeat_interval_s": 3600.0, "reload_poll_s": 3600.0}
    async with running(settings.model_copy(update=still)) as client:
        yield client


def make(session: Session) -> CreatedResponse:
    job = jobs.enqueue(session, Recipe(), NOW, queue_limit=100)
    return CreatedResponse(202, {"Location": f"/jobs/{job.id}"}, {"id": job.id})


def count(db: Database) -> int:
    with db.read() as session:
        return sum(jobs.count_by_status(session).values())


def test_the_second_time_gives_the_first_answer_and_says_so(db: Database) -> None:
    first, second = (idempotency.once(db, WANTED, NOW, make) for _ in range(2))
    assert count(db) == 1
    assert (second.status, second.body) == (first.status, first.body)
    assert second.headers == {**first.headers, "Idempotent-Replayed": "true"}


def test_another_body_under_the_same_key_is_refused(db: Database) -> None:
    idempotency.once(db, WANTED, NOW, make)
    other = IdempotentRequest("/jobs", "", "order-66", idempotency.digest({"epochs": 2}))
    with pytest.raises(KeyReused, match="another body") as refused:
        idempotency.once(db, other, NOW, make)
    assert refused.value.pointer == "header/idempotency-key"
    assert count(db) == 1


@pytest.mark.parametrize("other", [("/datasets", ""), ("/jobs", "key_1")], ids=str)
def test_a_key_means_something_to_one_owner_at_one_path(db: Database, other: tuple[str, str]) -> None:
    idempotency.once(db, WANTED, NOW, make)
    idempotency.once(db, IdempotentRequest(*other, "order-66", WANTED.body_digest), NOW, make)
    assert count(db) == 2


def test_what_failed_is_not_kept(db: Database) -> None:
    def fails(session: Session) -> CreatedResponse:
        make(session)
        raise Overloaded

    with pytest.raises(Overloaded):
        idempotency.once(db, WANTED, NOW, fails)
    assert count(db) == 0
    assert idempotency.once(db, WANTED, NOW, make).headers.keys() == {"Location"}
    assert count(db) == 1


def test_a_first_request_that_is_not_answered_yet_is_told(db: Database) -> None:
    with db.write() as session:
        session.add(
            IdempotencyRecord(
                path="/jobs", owner="", idempotency_key="order-66", body_digest=WANTED.body_digest, created_at=NOW
            )
        )
    with pytest.raises(Conflict, match="still being answered"):
        idempotency.once(db, WANTED, NOW, make)


def test_of_fifty_threads_one_makes_and_all_are_answered_alike(db: Database) -> None:
    together = threading.Barrier(50)

    def ask(_: int) -> CreatedResponse:
        together.wait()
        return idempotency.once(db, WANTED, NOW, make)

    with ThreadPoolExecutor(50) as threads:
        made = list(threads.map(ask, range(50)))
    assert count(db) == 1
    assert len({answer.body["id"] for answer in made}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in made) == 1


def test_after_a_day_the_answer_is_forgotten(db: Database) -> None:
    idempotency.once(db, WANTED, NOW, make)
    for later, kept in ((idempotency.KEPT_S - 1, 1), (idempotency.KEPT_S + 1, 0)):
        with db.write() as session:
            idempotency.forget(session, NOW + later)
            assert session.query(IdempotencyRecord).count() == kept


def test_the_same_json_written_otherwise_is_the_same_body() -> None:
    assert idempotency.digest({"a": 1, "b": {"c": 2, "d": 3}}) == idempotency.digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert idempotency.digest({"a": 1}) != idempotency.digest({"a": 2})


# -- over HTTP


async def test_a_job_that_is_sent_twice_is_one_job(http: httpx.AsyncClient) -> None:
    first = await http.post("/jobs", json={"epochs": 2, "name": "mine"}, headers=TWICE)
    second = await http.post("/jobs", content=b'{"name": "mine",   "epochs": 2}', headers=TWICE | JSON)
    assert (second.status_code, second.json()) == (first.status_code, first.json()) == (202, first.json())
    assert second.headers["location"] == first.headers["location"] == f"/jobs/{first.json()['id']}"
    assert int(first.headers["retry-after"]) > 0
    assert (first.headers.get("idempotent-replayed"), second.headers["idempotent-replayed"]) == (None, "true")
    assert len((await http.get("/jobs")).json()["data"]) == 1


async def test_fifty_requests_at_once_make_one_job(http: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(http.post("/jobs", json={"epochs": 2}, headers=TWICE) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len((await http.get("/jobs")).json()["data"]) == 1


async def test_a_second_request_waits_for_the_answer_to_a_first_in_flight(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    came, go_on = Semaphore(0), threading.Event()
    once, enqueue = idempotency.once, jobs.enqueue

    def comes(*given: Any) -> CreatedResponse:
        came.release()
        return once(*given)

    def takes_long(*given: Any, **more: Any) -> Job:
        made = enqueue(*given, **more)
        assert go_on.wait(10)
        return made

    monkeypatch.setattr(idempotency, "once", comes)
    monkeypatch.setattr(jobs, "enqueue", takes_long)
    both = []
    for _ in range(2):
        both.append(asyncio.create_task(http.post("/jobs", json={}, headers=TWICE)))
        await until(lambda: came.acquire(blocking=False))
    assert [request.done() for request in both] == [False, False]
    go_on.set()
    first, second = sorted(await asyncio.gather(*both), key=lambda answer: "idempotent-replayed" in answer.headers)
    assert (second.status_code, second.json()) == (first.status_code, first.json()) == (202, first.json())
    assert ("idempotent-replayed" in first.headers, second.headers["idempotent-replayed"]) == (False, "true")


async def test_the_same_key_with_another_job_is_refused(http: httpx.AsyncClient) -> None:
    await http.post("/jobs", json={"epochs": 2}, headers=TWICE)
    answer = await http.post("/jobs", json={"epochs": 3}, headers=TWICE)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert answer.json()["errors"][0]["pointer"] == "header/idempotency-key"


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "a\tb", "\xe4"])
async def test_a_key_that_is_none_is_refused(http: httpx.AsyncClient, key: str) -> None:
    answer = await http.post("/jobs", json={}, headers=[(b"Idempotency-Key", key.encode("latin-1"))])
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "header/idempotency-key")
    assert (await http.get("/jobs")).json()["data"] == []


async def test_a_key_of_255_characters_is_one(http: httpx.AsyncClient) -> None:
    answers = [await http.post("/jobs", json={}, headers={"Idempotency-Key": "~" * 255}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()


async def test_without_a_key_each_request_is_a_job(http: httpx.AsyncClient) -> None:
    first, second = await http.post("/jobs", json={}), await http.post("/jobs", json={})
    assert first.json()["id"] != second.json()["id"]


async def test_a_refused_job_can_be_sent_again_under_its_key(http: httpx.AsyncClient) -> None:
    assert (await http.post("/jobs", json={"weights": "model_gone"}, headers=TWICE)).status_code == 422
    assert (await http.post("/jobs", json={}, headers=TWICE)).status_code == 202


async def test_the_first_answer_is_given_again_whatever_has_changed(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await http.post("/jobs", json={}, headers=TWICE)
    monkeypatch.setattr("service.uploads.disk_space.free_bytes", lambda _: 0)
    assert (await http.post("/jobs", json={})).status_code == 503
    assert (await http.post("/jobs", json={}, headers=TWICE)).json() == first.json()


async def test_a_retry_that_is_sent_twice_is_one_new_job(http: httpx.AsyncClient) -> None:
    old, other = [(await http.post("/jobs", json={})).json()["id"] for _ in range(2)]
    assert (await http.post(f"/jobs/{old}/retry", headers=TWICE)).status_code == 409  # not ended; the key stays free
    for job_id in (old, other):
        await http.post(f"/jobs/{job_id}/cancel")
    first, second = [await http.post(f"/jobs/{old}/retry", headers=TWICE) for _ in range(2)]
    assert (second.status_code, second.json()) == (first.status_code, first.json()) == (202, first.json())
    assert second.headers["location"] == first.headers["location"] == f"/jobs/{first.json()['id']}"
    assert (first.headers.get("idempotent-replayed"), second.headers["idempotent-replayed"]) == (None, "true")
    assert len((await http.get("/jobs")).json()["data"]) == 3
    reused = await http.post(f"/jobs/{other}/retry", headers=TWICE)
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_service_forgets_old_answers_by_itself(settings: Settings, db: Database, database_url: str) -> None:
    idempotency.once(db, WANTED, 0.0, make)

    async def forgotten() -> bool:
        with db.read() as session:
            return session.query(IdempotencyRecord).count() == 0

    async with running(settings.model_copy(update={"database_url": database_url, "heartbeat_interval_s": 0.01})):
        await answered(forgotten)


async def test_an_idempotency_key_is_one_api_keys_alone(settings: Settings) -> None:
    async with running(with_keys(settings)) as http:
        answers = {
            name: [await http.post("/jobs", json={}, headers=TWICE | bearer(name)) for _ in range(2)]
            for name in ("trainer", "trainer2")
        }
    ids = {name: {answer.json()["id"] for answer in given} for name, given in answers.items()}
    assert [len(found) for found in ids.values()] == [1, 1]
    assert ids["trainer"] != ids["trainer2"]


async def test_an_upload_that_is_begun_twice_is_one(http: httpx.AsyncClient, settings: Settings) -> None:
    about = TWICE | {"Tus-Resumable": "1.0.0"}
    first, second = [await http.post("/uploads", headers=about | {"Upload-Length": "9"}) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.headers["location"] == second.headers["location"]
    assert second.headers["idempotent-replayed"] == "true"
    assert len(list((settings.data_dir / "uploads").iterdir())) == 1
    reused = await http.post("/uploads", headers=about | {"Upload-Length": "8"})
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_key_that_is_made_twice_is_one_and_shown_once(http: httpx.AsyncClient, db: Database) -> None:
    boss = {"name": "boss", "scopes": ["admin"]}
    first = await http.post("/keys", json=boss)
    mine = TWICE | {"Authorization": f"Bearer {first.json()['key']}"}
    made, again = [await http.post("/keys", json={"name": "me", "scopes": ["train"]}, headers=mine) for _ in range(2)]
    assert (made.status_code, again.status_code) == (201, 409)
    assert made.json()["id"] in again.json()["detail"]
    listed = (await http.get("/keys", headers=mine)).json()["data"]
    assert sorted(key["name"] for key in listed) == ["boss", "me"]
    with db.read() as session:
        assert made.json()["key"] not in str([row.body for row in session.query(IdempotencyRecord)])
