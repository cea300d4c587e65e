"""Stream a job's event log as server-sent events.

It is replayed from any number and live until the job has ended.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool

from core.db.database import Database
from core.db.tables import ENDED, Event, JobStatus
from core.repositories import events, jobs
from service.web.shutdown import pause

POLL_S = 0.5
HEARTBEAT_S = 15.0  # under the idle limits of common proxies
PAGE = 500


async def follow(
    db: Database, job_id: str, after: int, stopping: asyncio.Event, is_admitted: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Yield every event after ``after``, once and in order, then ``done``.

    Without ``done`` it ends when the listener's key is revoked; and when the server stops: the listener comes back with
    ``Last-Event-ID`` and misses nothing.
    """
    last_sent = time.monotonic()
    while is_admitted() and not stopping.is_set():
        found, status = await run_in_threadpool(_look, db, job_id, after)
        for event in found:
            yield format_sse_event(data_str=json.dumps(_told(event)), event=event.kind, id=str(event.number))
            after, last_sent = event.number, time.monotonic()
        if len(found) == PAGE:
            continue
        if status in ENDED:  # seen together with the last events, in one look
            yield format_sse_event(data_str=json.dumps({"status": status}), event="done", id=str(after))
            return
        if time.monotonic() - last_sent > HEARTBEAT_S:
            yield format_sse_event(comment="still here")
            last_sent = time.monotonic()
        await pause(stopping, POLL_S)


def _told(event: Event) -> dict[str, Any]:
    """Give an event's time and content as JSON data."""
    return {"at": datetime.fromtimestamp(event.at, UTC).isoformat(), **event.data}


def _look(db: Database, job_id: str, after: int) -> tuple[list[Event], JobStatus]:
    with db.read() as session:
        status = jobs.get(session, job_id).status
        return events.after(session, job_id, after, PAGE), status
