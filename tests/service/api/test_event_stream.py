"""service.api.event_stream: the event log of a job as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from core.db.database import Database
from core.db.tables import Job
from core.repositories import events, job_control, jobs
from core.repositories.jobs import Claim
from service.api import event_stream
from tests.conftest import NOW
from tests.support.fakes import until

Enqueue = Callable[..., Job]
Claimed = Callable[..., Claim]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "POLL_S", 0.005)


def admitted() -> bool:
    return True


@dataclass
class Sent:
    id: int | None = None
    event: str = ""
    data: Any = None
    comment: str = ""


def parse(chunk: bytes) -> Sent:
    """Parse an event as a browser reads it."""
    assert chunk.endswith(b"\n\n")
    sent = Sent()
    for line in chunk.decode().strip().splitlines():
        field, _, value = line.partition(": ")
        if field == "id":
            sent.id = int(value)
        elif field == "event":
            sent.event = value
        elif field == "data":
            sent.data = json.loads(value)
        else:
            sent.comment = value
    return sent


async def read(stream: AsyncIterator[bytes]) -> list[Sent]:
    return [parse(chunk) async for chunk in stream]


def write(db: Database, job_id: str, kind: str = "log", **data: Any) -> None:
    with db.write() as session:
        events.append(session, job_id, kind, data, NOW)


def cancel(db: Database, job_id: str) -> None:
    with db.write() as session:
        job_control.cancel(session, job_id, NOW)


async def test_an_ended_job_is_replayed_to_done(db: Database, enqueue: Enqueue) -> None:
    job = enqueue()
    write(db, job.id, "metrics", epoch=1)
    cancel(db, job.id)
    sent = await read(event_stream.follow(db, job.id, 0, asyncio.Event(), admitted))
    assert [(one.id, one.event) for one in sent] == [(1, "status"), (2, "metrics"), (3, "status"), (3, "done")]
    assert sent[1].data == {"at": "2027-01-15T08:00:00+00:00", "epoch": 1}
    assert sent[-1].data == {"status": "cancelled"}


@pytest.mark.parametrize(("after", "ids"), [(1, [2, 3]), (2, [3]), (3, []), (99, [])])
async def test_a_reader_that_was_cut_off_gets_only_what_it_missed(
    db: Database, enqueue: Enqueue, after: int, ids: list[int]
) -> None:
    job = enqueue()
    write(db, job.id)
    cancel(db, job.id)
    sent = await read(event_stream.follow(db, job.id, after, asyncio.Event(), admitted))
    assert [one.id for one in sent if one.event != "done"] == ids
    assert sent[-1].event == "done"


async def test_a_long_log_is_sent_whole_and_in_order(
    db: Database, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "PAGE", 3)
    job = enqueue()
    for _ in range(7):
        write(db, job.id)
    cancel(db, job.id)
    sent = await read(event_stream.follow(db, job.id, 0, asyncio.Event(), admitted))
    assert [one.id for one in sent] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 9]


async def test_events_arrive_as_they_happen_until_the_job_ends(db: Database, claimed: Claimed) -> None:
    claim = claimed()
    seen: list[Sent] = []

    async def listen() -> None:
        async for chunk in event_stream.follow(db, claim.job_id, 2, asyncio.Event(), admitted):
            seen.append(parse(chunk))

    listening = asyncio.create_task(listen())
    for number, message in enumerate(("one", "two"), 1):
        write(db, claim.job_id, message=message)
        await until(lambda number=number: len(seen) == number)  # type: ignore[misc]
    with db.write() as session:
        jobs.fail(session, claim, {"code": "killed"}, NOW)
    await listening
    assert [one.data.get("message") for one in seen] == ["one", "two", None, None]
    assert [one.event for one in seen[2:]] == ["status", "done"]
    assert seen[-1].data == {"status": "failed"}


async def test_a_silent_job_sends_a_sign_of_life(
    db: Database, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.0)
    stream = event_stream.follow(db, enqueue().id, 1, asyncio.Event(), admitted)
    signs = [parse(await anext(stream)) for _ in range(3)]
    assert [(sign.id, sign.data, bool(sign.comment)) for sign in signs] == [(None, None, True)] * 3
    await stream.aclose()  # type: ignore[attr-defined]


async def test_text_with_line_breaks_stays_one_event(db: Database, enqueue: Enqueue) -> None:
    job = enqueue()
    write(db, job.id, message="first\nsecond\r\nthird", other="ümläut")
    cancel(db, job.id)
    sent = await read(event_stream.follow(db, job.id, 1, asyncio.Event(), admitted))
    assert (sent[0].data["message"], sent[0].data["other"]) == ("first\nsecond\r\nthird", "ümläut")


async def test_a_stream_ends_when_the_server_begins_to_stop(db: Database, enqueue: Enqueue) -> None:
    stopping, seen = asyncio.Event(), list[Sent]()
    job = enqueue()

    async def listen() -> None:
        async for chunk in event_stream.follow(db, job.id, 0, stopping, admitted):
            seen.append(parse(chunk))

    listening = asyncio.create_task(listen())
    await until(lambda: len(seen) == 1)
    stopping.set()
    await listening
    assert [one.event for one in seen] == ["status"]  # not done: the listener comes back


async def test_a_stream_ends_when_its_key_is_revoked(db: Database, enqueue: Enqueue) -> None:
    answers = iter([True, False])
    sent = await read(event_stream.follow(db, enqueue().id, 0, asyncio.Event(), lambda: next(answers)))
    assert [(one.id, one.event) for one in sent] == [(1, "status")]
