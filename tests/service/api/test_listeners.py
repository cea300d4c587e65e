"""service.api.listeners: event streams and long polls are bounded.

They end with their key.
"""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from core.db.database import Database
from core.db.tables import Job, Model, Worker
from core.repositories import workers
from core.settings import Settings
from service.api import event_stream, long_polling
from service.api.listeners import Listeners
from tests.conftest import NOW, running
from tests.support.fakes import until
from tests.support.keys import bearer, with_keys

Enqueue = Callable[..., Job]
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "POLL_S", 0.005)
    monkeypatch.setattr(long_polling, "POLL_S", 0.005)


def counted(http: httpx.AsyncClient) -> int:
    listeners: Listeners = http._transport.app.state.service.listeners  # type: ignore[attr-defined]
    return listeners._open.total()


async def test_one_listener_too_many_is_asked_to_come_again(settings: Settings, enqueue: Enqueue) -> None:
    """Streams and long polls count as listeners until they end.

    Who does not wait is always answered.
    """
    path = f"/jobs/{enqueue().id}"
    async with running(settings.model_copy(update={"max_listeners": 2})) as http, asyncio.timeout(20):
        open_ones = [
            asyncio.create_task(http.get(path, params={"wait": 60})),
            asyncio.create_task(http.get(f"{path}/events", headers=STREAM)),
        ]
        await until(lambda: counted(http) == 2)
        refused = [await http.get(path, params={"wait": 60}), await http.get(f"{path}/events", headers=STREAM)]
        served = [await http.get(path), await http.get(f"{path}/events")]
        await http.post(f"{path}/cancel")
        ended = [await one for one in open_ones]
        assert counted(http) == 0
        again = await http.get(path, params={"wait": 60})
    assert [(one.status_code, one.json()["code"], one.headers["retry-after"]) for one in refused] == [
        (429, "overloaded", "5")
    ] * 2
    assert [one.status_code for one in (*served, *ended, again)] == [200] * 5
    assert "event: done" in ended[1].text


async def test_one_key_does_not_take_every_listeners_place(settings: Settings, enqueue: Enqueue) -> None:
    path, keyed = f"/jobs/{enqueue().id}", with_keys(settings).model_copy(update={"max_listeners_per_key": 1})
    async with running(keyed) as http, asyncio.timeout(20):
        first = asyncio.create_task(http.get(path, params={"wait": 60}, headers=bearer("reader")))
        await until(lambda: counted(http) == 1)
        refused = await http.get(path, params={"wait": 60}, headers=bearer("reader"))
        other = await http.get(path, params={"wait": 0.01}, headers=bearer("trainer"))
        await http.post(f"{path}/cancel", headers=bearer("trainer"))
        ended = await first
    assert [one.status_code for one in (refused, other, ended)] == [429, 200, 200]


async def test_a_listener_that_asks_for_nothing_is_not_counted_for_ever(http: httpx.AsyncClient) -> None:
    answers = [await http.get("/jobs/job_gone/events", headers=STREAM), await http.get("/jobs/job_gone?wait=9")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert counted(http) == 0


async def made(http: httpx.AsyncClient, scope: str, by: dict[str, str]) -> tuple[str, dict[str, str]]:
    """An API key's id, and the header that carries it."""
    key = (await http.post("/keys", json={"name": scope, "scopes": [scope]}, headers=by)).json()
    return key["id"], {"Authorization": f"Bearer {key['key']}"}


async def test_an_event_stream_ends_when_its_key_is_revoked(http: httpx.AsyncClient, enqueue: Enqueue) -> None:
    """Revoking a key ends its event streams, without ``done``.

    A stream from before the first key ends too. Neither says done, since the job goes on.
    """
    path = f"/jobs/{enqueue().id}/events"
    async with asyncio.timeout(20):
        before = asyncio.create_task(http.get(path, headers=STREAM))
        await until(lambda: counted(http) == 1)
        _, boss = await made(http, "admin", {})
        cut = [await before]
        reader_id, reader = await made(http, "read", boss)
        open_one = asyncio.create_task(http.get(path, headers=STREAM | reader))
        await until(lambda: counted(http) == 1)
        assert (await http.delete(f"/keys/{reader_id}", headers=boss)).status_code == 204
        cut.append(await open_one)
    assert [(one.status_code, "event: done" in one.text, one.text.count("event: status")) for one in cut] == [
        (200, False, 1)
    ] * 2


async def test_a_long_poll_is_refused_when_its_key_is_revoked(
    http: httpx.AsyncClient, db: Database, enqueue: Enqueue, published: Callable[..., Model]
) -> None:
    """Revoking a key refuses its long polls.

    They say no more of a job, a batch or a model's program; nor does one from before the first key.
    """
    published()
    with db.write() as session:  # a worker, so that a program is waited for
        workers.register(session, Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=NOW * 2))
    line = {"content": b'{"array": [[0]]}', "headers": {"Content-Type": "application/x-ndjson"}}
    batch = (await http.post("/batches", **line)).json()  # type: ignore[arg-type]
    job = f"/jobs/{enqueue().id}?wait=60"
    paths = [job, f"/batches/{batch['id']}?wait=60", "/models/digits/content?format=torch_export"]
    async with asyncio.timeout(20):
        before = asyncio.create_task(http.get(job))
        await until(lambda: counted(http) == 1)
        _, boss = await made(http, "admin", {})
        refused = [await before]
        reader_id, reader = await made(http, "read", boss)
        waiting = [asyncio.create_task(http.get(path, headers=reader)) for path in paths]
        await until(lambda: counted(http) == len(paths))
        await http.delete(f"/keys/{reader_id}", headers=boss)
        refused += [await one for one in waiting]
    assert [(one.status_code, one.json()["code"]) for one in refused] == [(401, "unauthorized")] * 4
    assert {one.headers["www-authenticate"] for one in refused} == {"Bearer"}
    assert ["revoked" in one.json()["detail"] for one in refused] == [False, True, True, True]
