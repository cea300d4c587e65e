"""End long answers when the server begins to stop.

The server waits for every answer, and a stream has no end of its own.
"""

import asyncio
from contextlib import suppress

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

STOPPING = "stopping"  # the event in the state that the application's lifespan gives the server


class StoppableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which sets an event when the server stops.

    uvicorn then shuts each connection down, in every one of its processes. The application's own shutdown comes only
    after the last answer.
    """

    def shutdown(self) -> None:
        self.app_state[STOPPING].set()
        super().shutdown()


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the server stops."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
