"""Requests to the service, and what every call shares."""

import os
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

import httpx

from tuneserve.client.errors import ServiceError, ServiceUnreachable, refusal
from tuneserve.client.retries import Retries, may_repeat, rewind, wanted_pause
from tuneserve.types import Record

DEFAULT_URL = "http://127.0.0.1:8000"
ENDED = ("succeeded", "failed", "cancelled")
POLL_S = 0.5
MAX_PAGE = 100  # rows of a list that the service gives out at a time
MAX_RESTART_S = 60.0  # so long a service that restarts is waited for
Fields = TypeVar("Fields", bound=Record)


class Connection:
    """A connection to one service; the client's calls are mixed into it.

    ``url`` defaults to $TUNESERVE_URL, else to port 8000 of this machine; ``key`` to $TUNESERVE_API_KEY. ``timeout``:
    seconds until a request to a silent service is given up.
    """

    def __init__(self, url: str | None = None, key: str | None = None, timeout: float = 90) -> None:
        self.url = (url or os.environ.get("TUNESERVE_URL") or DEFAULT_URL).rstrip("/")
        key = key or os.environ.get("TUNESERVE_API_KEY")
        _check(self.url, key)
        self._was_reached = False
        self._http = httpx.Client(
            base_url=self.url, timeout=timeout, headers={"Authorization": f"Bearer {key}"} if key else {}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def _follow(self, fetch: Callable[[], Fields]) -> Iterator[Fields]:
        """Yield what is fetched until its status is an end; await a service that restarts."""
        misses = 0
        while True:
            try:
                seen = fetch()
                misses = 0
            except ServiceUnreachable:
                misses += 1
                if misses * POLL_S > MAX_RESTART_S:
                    raise
            else:
                yield seen
                if seen["status"] in ENDED:
                    return
            time.sleep(POLL_S)

    def _call(self, shape: type[Fields], method: str, path: str, **options: Any) -> Fields:
        """Return the response's JSON; its fields are not validated."""
        return shape(self._json(method, path, **options))

    def _create(self, shape: type[Fields], path: str, **options: Any) -> Fields:
        """POST what makes something, under a key by which a repetition makes nothing twice."""
        headers = {"Idempotency-Key": uuid4().hex, **options.pop("headers", {})}
        return self._call(shape, "POST", path, headers=headers, **options)

    def _pages(self, shape: type[Fields], path: str, limit: int, **only: str | None) -> list[Fields]:
        found: list[Fields] = []
        after: dict[str, Any] = {name: value for name, value in only.items() if value is not None}
        while len(found) < limit:
            params = {"limit": min(limit - len(found), MAX_PAGE), **after}
            page = self._json("GET", path, params=params)
            found += map(shape, page["data"])
            if not page["has_more"]:
                break
            after["after"] = page["next"]
        return found

    def _list(self, shape: type[Fields], path: str, **options: Any) -> list[Fields]:
        return [shape(one) for one in self._json("GET", path, **options)["data"]]

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return self._accepted(method, path, **options).json(object_hook=Record)

    def _accepted(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self._request(method, path, **options)
        if answer.is_error:
            raise refusal(answer)
        return answer

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request, and again where that is safe and may help."""
        retries = Retries()
        while True:
            try:
                answer = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                may_help = self._was_reached and may_repeat(error, method, options)
                pause = retries.pause(retries.backoff_s() if may_help else None, f"{method} {path}: {error}")
                if pause is None:
                    raise self._unreachable(error) from error
            else:
                self._was_reached = True
                pause = retries.pause(wanted_pause(answer), f"{method} {path}: HTTP {answer.status_code}")
                if pause is None:
                    return answer
            time.sleep(pause)
            rewind(options)

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
