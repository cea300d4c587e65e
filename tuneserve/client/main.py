"""The client, put together from the calls of each kind."""

from typing import Any

from tuneserve.client.datasets import DatasetCalls
from tuneserve.client.jobs import JobCalls
from tuneserve.client.keys import KeyCalls
from tuneserve.client.models import ModelCalls
from tuneserve.client.predictions import PredictionCalls
from tuneserve.client.uploads import UploadCalls


class Client(JobCalls, ModelCalls, PredictionCalls, DatasetCalls, UploadCalls, KeyCalls):
    """A client for one service.

    ``url`` defaults to $TUNESERVE_URL, else to port 8000 of this machine; ``key`` to $TUNESERVE_API_KEY.
    """

    def ready(self) -> dict[str, Any]:
        """Return the readiness checks, whether or not they pass."""
        body: dict[str, Any] = self._request("GET", "/readyz").json()
        return body
