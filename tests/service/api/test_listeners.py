"""service.api.listeners: event streams and long polls are bounded, in all and for each key."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from core.db.tables import Job
from core.errors import Overloaded
from core.repositories.api_keys import Caller
from core.scopes import Scope
from core.settings import Settings
from service.api import event_stream, long_polling
from service.api.listeners import Listeners
from tests.conftest import running

WAYS = {"a stream": ("/events", {"Accept": "text/event-stream"}), "a long poll": ("?wait=60", {})}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "POLL_S", 0.005)
    monkeypatch.setattr(long_polling, "POLL_S", 0.005)


def caller(name: str) -> Caller:
    return Caller(id=name, name=name, scopes=frozenset({Scope.READ}))


async def refused_beside(
    http: httpx.AsyncClient, ask: Callable[[], Awaitable[httpx.Response]], probe: str
) -> tuple[asyncio.Future[httpx.Response], httpx.Response]:
    """A request that waits, and the first answer that says that it is one too many beside it."""
    waiting = asyncio.ensure_future(ask())
    async with asyncio.timeout(20):
        while True:
            answer = await http.get(probe)
            if answer.status_code == 429:
                return waiting, answer
            if waiting.done():  # the probe was there first
                waiting = asyncio.ensure_future(ask())
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", WAYS)
async def test_one_too_many_is_refused_until_another_ends(
    settings: Settings, enqueue: Callable[..., Job], way: str
) -> None:
    job, (path, headers) = enqueue(), WAYS[way]
    async with running(settings.model_copy(update={"max_listeners": 1})) as http:
        waiting, answer = await refused_beside(
            http, lambda: http.get(f"/jobs/{job.id}{path}", headers=headers), f"/jobs/{job.id}?wait=0.01"
        )
        assert (answer.json()["code"], answer.headers["retry-after"]) == ("overloaded", "5")
        assert (await http.get(f"/jobs/{job.id}")).status_code == 200  # without waiting
        await http.post(f"/jobs/{job.id}/cancel")
        assert (await waiting).status_code == 200
        assert (await http.get(f"/jobs/{job.id}?wait=0.01")).status_code == 200


def test_a_key_has_a_bound_of_its_own(settings: Settings) -> None:
    listeners = Listeners(settings.model_copy(update={"max_listeners": 3, "max_listeners_per_key": 1}))
    with listeners.one(caller("ann")), listeners.one(caller("bob")):
        with pytest.raises(Overloaded), listeners.one(caller("ann")):
            pass
        with listeners.one(None), pytest.raises(Overloaded), listeners.one(None):
            pass
    with listeners.one(caller("ann")):
        pass
