"""Requests to the service, and what every call shares."""

import os
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from tuneserve.client.errors import ServiceError, ServiceUnreachable, refusal
from tuneserve.types import Batch, Job

DEFAULT_URL = "http://127.0.0.1:8000"
ENDED = ("succeeded", "failed", "cancelled")
POLL_S = 0.5
MAX_PAGE = 100  # rows of a list that the service gives out at a time
Shape = TypeVar("Shape")
Ends = TypeVar("Ends", Job, Batch)


class Connection:
    """A connection to one service; the client's calls are mixed into it.

    ``url`` defaults to $TUNESERVE_URL, else to port 8000 of this machine; ``key`` to $TUNESERVE_API_KEY.
    """

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        self.url = (url or os.environ.get("TUNESERVE_URL") or DEFAULT_URL).rstrip("/")
        key = key or os.environ.get("TUNESERVE_API_KEY")
        _check(self.url, key)
        self._http = httpx.Client(
            base_url=self.url, timeout=90, headers={"Authorization": f"Bearer {key}"} if key else {}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def _follow(self, fetch: Callable[[], Ends]) -> Iterator[Ends]:
        misses = 0
        while True:
            try:
                seen = fetch()
                misses = 0
            except ServiceUnreachable:
                misses += 1
                if misses * POLL_S > 60:
                    raise
            else:
                yield seen
                if seen["status"] in ENDED:
                    return
            time.sleep(POLL_S)

    def _call(self, shape: type[Shape], method: str, path: str, **options: Any) -> Shape:  # noqa: ARG002
        """Return the response's JSON.

        ``shape`` is for type checkers and is not validated.
        """
        body: Shape = self._accepted(method, path, **options).json()
        return body

    def _pages(self, shape: type[Shape], path: str, limit: int, **only: str | None) -> list[Shape]:  # noqa: ARG002
        found: list[Shape] = []
        after: dict[str, Any] = {name: value for name, value in only.items() if value is not None}
        while len(found) < limit:
            params = {"limit": min(limit - len(found), MAX_PAGE), **after}
            page = self._accepted("GET", path, params=params).json()
            found += page["data"]
            if not page["has_more"]:
                break
            after["after"] = page["next"]
        return found

    def _list(self, shape: type[Shape], path: str, **options: Any) -> list[Shape]:  # noqa: ARG002
        data: list[Shape] = self._accepted("GET", path, **options).json()["data"]
        return data

    def _accepted(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self._request(method, path, **options)
        if answer.is_error:
            raise refusal(answer)
        return answer

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> ServiceUnreachable:
        return ServiceUnreachable(f"No service answers at {self.url} ({error}). Start one: tuneserve up")


def _check(url: str, key: str | None) -> None:
    """Validate the URL and the key.

    ServiceError if no request could be sent with them.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ServiceError(f"{url} is no URL ({error}): give TUNESERVE_URL or --url as http://HOST:PORT") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ServiceError(f"{url} is no URL of a service: give TUNESERVE_URL or --url as http://HOST:PORT")
    if key and not (key.isascii() and key.isprintable()):
        raise ServiceError("TUNESERVE_API_KEY holds invalid characters: set it to a key that `keys add` printed")
