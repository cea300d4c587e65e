"""Parameters of requests that stay open for what is to come.

Each request is counted while it is open.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Query

from service.api.dependencies import Service
from service.security.api_keys import Who

WAIT = "Seconds to wait for the end before answering, 0 to 60"
EVENT_STREAM = "text/event-stream"


async def _waiting(
    service: Service, caller: Who, wait: Annotated[float, Query(ge=0, le=60, description=WAIT)] = 0
) -> AsyncIterator[float]:
    if not wait:
        yield 0
        return
    with service.listeners.one(caller):
        yield wait


async def _streaming(
    service: Service, caller: Who, accept: Annotated[str, Header(include_in_schema=False)] = ""
) -> AsyncIterator[bool]:
    if EVENT_STREAM not in accept:
        yield False
        return
    with service.listeners.one(caller):
        yield True


Wait = Annotated[float, Depends(_waiting)]  # seconds
WantsStream = Annotated[bool, Depends(_streaming)]  # counted until the stream has ended
