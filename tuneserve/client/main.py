"""The client, put together from the calls of each kind."""

from typing import Any

import httpx

from tuneserve.client.batches import BatchCalls
from tuneserve.client.jobs import JobCalls
from tuneserve.client.keys import KeyCalls


class Client(JobCalls, BatchCalls, KeyCalls):
    """A client for one service.

    ``url`` defaults to $TUNESERVE_URL, else to port 8000 of this machine; ``key`` to $TUNESERVE_API_KEY.
    """

    def ready(self) -> dict[str, Any]:
        """Return the readiness checks, whether or not they pass."""
        try:
            body: dict[str, Any] = self._http.get("/readyz").json()  # a failed check is an answer: it is not waited out
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        return body
