"""tuneserve.client.retries: a request is sent again where that is safe, and not for ever."""

import io
from collections.abc import Callable, Iterator

import httpx
import pytest

from tuneserve.client import Client, ServiceError, ServiceUnreachable, retries

Answering = Callable[..., tuple[Client, list[httpx.Request]]]
BUSY = httpx.Response(503, headers={"Retry-After": "7"}, json={"detail": "busy"})
MADE = httpx.Response(202, json={"id": "job_1", "warnings": []})


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr("tuneserve.client.connection.time.sleep", waited.append)
    return waited


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Make a client whose service answers so, one after the other; it was reached before."""
    clients = []

    def make(*answers: httpx.Response | Exception) -> tuple[Client, list[httpx.Request]]:
        waiting = list(answers)
        seen: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            request.read()
            seen.append(request)
            following = waiting.pop(0)
            if isinstance(following, Exception):
                raise following
            return following

        client = Client("http://there")
        client._http = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://there")
        client._was_reached = True
        clients.append(client)
        return client, seen

    yield make
    for client in clients:
        client._http.close()


def test_a_busy_service_is_asked_again_when_it_says(answering: Answering, pauses: list[float]) -> None:
    full = httpx.Response(429, headers={"Retry-After": "2"}, json={"detail": "full"})
    client, seen = answering(full, BUSY, MADE)
    assert client.train("digits").id == "job_1"
    assert pauses == [2.0, 7.0]
    keys = {request.headers["idempotency-key"] for request in seen}
    assert len(seen) == 3
    assert len(keys) == 1


def test_nobody_waits_for_a_model_that_nobody_trains(answering: Answering, pauses: list[float]) -> None:
    none = httpx.Response(503, headers={"Retry-After": "5"}, json={"code": "not_ready", "detail": "No model serves."})
    client, seen = answering(none)
    with pytest.raises(ServiceError, match="No model serves"):
        client.predict(b"picture")
    assert (len(seen), pauses) == (1, [])


def test_each_creation_has_a_key_of_its_own(answering: Answering) -> None:
    client, seen = answering(MADE, MADE)
    client.train("digits"), client.train("digits")
    assert len({request.headers["idempotency-key"] for request in seen}) == 2


def test_waiting_has_an_end(answering: Answering, pauses: list[float]) -> None:
    client, seen = answering(*[BUSY] * 9)
    with pytest.raises(ServiceError, match="busy"):
        client.jobs()
    assert (len(seen), pauses) == (5, [7.0] * 4)
    long, seen = answering(httpx.Response(429, headers={"Retry-After": "3600"}, json={"detail": "tomorrow"}))
    with pytest.raises(ServiceError, match="tomorrow"):
        long.jobs()
    silent, seen = answering(httpx.Response(503, json={"detail": "no seconds"}))
    with pytest.raises(ServiceError, match="no seconds"):
        silent.jobs()
    assert len(pauses) == 4


def test_a_cut_connection_is_tried_again_where_nothing_can_happen_twice(
    answering: Answering, pauses: list[float]
) -> None:
    cut = httpx.ReadError("cut")
    client, seen = answering(cut, MADE)
    assert client.train({}).id == "job_1"
    lists, _ = answering(cut, httpx.Response(200, json={"data": []}))
    assert lists.keys() == []
    keys, _ = answering(cut)
    with pytest.raises(ServiceUnreachable):
        keys.add_key("me", ["admin"])
    slow, _ = answering(httpx.ReadTimeout("slow"))
    with pytest.raises(ServiceUnreachable):
        slow.keys()
    gone, seen = answering(*[httpx.ConnectError("refused")] * 9)
    with pytest.raises(ServiceUnreachable):
        gone.add_key("me", ["admin"])
    assert len(seen) == retries.MAX_TRIES
    assert sum(pauses) <= retries.MAX_PAUSES_S


def test_a_service_that_was_never_there_is_told_at_once(answering: Answering, pauses: list[float]) -> None:
    client, _ = answering(httpx.ConnectError("refused"))
    client._was_reached = False
    with pytest.raises(ServiceUnreachable, match="tuneserve up"):
        client.jobs()
    assert pauses == []


def test_a_file_is_sent_whole_again(answering: Answering, pauses: list[float]) -> None:
    client, seen = answering(BUSY, httpx.Response(200, json={}))
    client._request("POST", "/batches", content=io.BytesIO(b"images"))
    assert [request.content for request in seen] == [b"images"] * 2
