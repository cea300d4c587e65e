"""The service over HTTP, one method a call."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

DEFAULT_URL = "http://127.0.0.1:8000"
ENDED = ("succeeded", "failed", "cancelled")
POLL_S = 0.5


class ServiceError(Exception):
    """The service said no, or could not be reached; the message is for people."""


class Client:
    """A connection to one service. ``url``: default $TUNESERVE_URL, else the loopback."""

    def __init__(self, url: str | None = None) -> None:
        self.url = (url or os.environ.get("TUNESERVE_URL") or DEFAULT_URL).rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=90)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def train(self, recipe: dict[str, Any]) -> dict[str, Any]:
        return self._call("POST", "/jobs", json=recipe)

    def job(self, job_id: str, wait_s: float = 0) -> dict[str, Any]:
        return self._call("GET", f"/jobs/{job_id}", params={"wait": wait_s})

    def jobs(self, limit: int = 20) -> list[dict[str, Any]]:
        return list(self._call("GET", "/jobs", params={"limit": limit})["data"])

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self._call("POST", f"/jobs/{job_id}/cancel")

    def model(self, name: str = "latest") -> dict[str, Any]:
        return self._call("GET", f"/models/{name}")

    def models(self, limit: int = 20) -> list[dict[str, Any]]:
        return list(self._call("GET", "/models", params={"limit": limit})["data"])

    def ready(self) -> dict[str, Any]:
        """The readiness checks, whether or not they pass."""
        body: dict[str, Any] = self._request("GET", "/readyz").json()
        return body

    def predict(self, files: Sequence[Path], top_k: int = 3) -> dict[str, Any]:
        parts = [("file", (file.name, file.read_bytes())) for file in files]
        return self._call("POST", "/predict", files=parts, params={"top_k": top_k})

    def follow(self, job_id: str) -> Iterator[dict[str, Any]]:
        """The job, again and again until it has ended. A service that restarts in between is waited for."""
        misses = 0
        while True:
            try:
                job = self.job(job_id)
                misses = 0
            except ServiceUnreachable:
                misses += 1
                if misses * POLL_S > 60:
                    raise
            else:
                yield job
                if job["status"] in ENDED:
                    return
            time.sleep(POLL_S)

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._request(method, path, **options)
        if answer.is_error:
            raise ServiceError(_detail(answer))
        body: dict[str, Any] = answer.json()
        return body

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise ServiceUnreachable(f"No service answers at {self.url} ({error}). Start one: tuneserve up") from error


class ServiceUnreachable(ServiceError):
    """Nothing answers at the URL."""


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}: {answer.text[:200]}"
