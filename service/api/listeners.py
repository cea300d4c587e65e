"""Bound the requests that stay open: event streams and long polls."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import Overloaded
from core.repositories.api_keys import Caller
from core.settings import Settings

RETRY_AFTER_S = 5


class Listeners:
    """The open listeners of this process.

    Each queries the database several times a second.
    """

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_listeners
        self._most_per_key = settings.max_listeners_per_key
        self._open: Counter[str] = Counter()  # by the id of the API key, "" without keys

    @contextmanager
    def one(self, caller: Caller | None) -> Iterator[None]:
        """Count one listener while the block lasts.

        Raise Overloaded if too many are open.
        """
        owner = caller.id if caller else ""
        if self._open.total() >= self._most or (caller and self._open[owner] >= self._most_per_key):
            raise Overloaded(
                "Too many requests are waiting for events already; try again later, or without wait.", RETRY_AFTER_S
            )
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1
