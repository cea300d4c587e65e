"""Check the database and the artifact store for /readyz."""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Waited
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from core.artifacts.store import ArtifactStore
from core.db.database import Database
from core.errors import TuneserveError
from core.repositories import workers

log = logging.getLogger(__name__)
EVERY_S = 10.0  # how long what was found of the store holds
PATIENCE_S = 2.0  # that a probe waits for the database
SLOW_S = 5.0  # a store that takes longer counts as one that does not answer


class Bounded:
    """A check of something that may hang.

    Callers wait ``PATIENCE_S`` for it; one thread waits to the end.
    """

    def __init__(self, look: Callable[[], dict[str, Any]]) -> None:
        self._look = look
        self._thread = ThreadPoolExecutor(1, "check")
        self._lock = threading.Lock()
        self._looking: Future[dict[str, Any]] | None = None
        self._since = 0.0

    def __call__(self) -> dict[str, Any]:
        with self._lock:
            if self._looking is None or self._looking.done():
                self._looking, self._since = self._thread.submit(self._look), time.monotonic()
            looking = self._looking
        try:
            return looking.result(PATIENCE_S)
        except Waited:
            return {"ok": False, "detail": f"No answer for {time.monotonic() - self._since:.1f} s."}


class DatabaseCheck:
    """Check that the database takes writes, and count its live workers."""

    def __init__(self, db: Database, lease_s: float) -> None:
        self._db = db
        self._lease_s = lease_s
        self.writes = Bounded(self._writes)
        self.workers = Bounded(self._workers)

    def _writes(self) -> dict[str, Any]:
        try:
            with self._db.write() as session:
                session.connection()  # it begins here
        except SQLAlchemyError as error:
            return _no_database(error)
        return {"ok": True}

    def _workers(self) -> dict[str, Any]:
        try:
            with self._db.read() as session:
                live = workers.count_live(session, time.time(), self._lease_s)
        except SQLAlchemyError as error:
            return _no_database(error)
        return {"ok": live > 0, "live": live} | ({} if live else {"detail": "No worker is alive: jobs wait."})


def _no_database(error: SQLAlchemyError) -> dict[str, Any]:
    """Log a database error and answer the probe without details.

    Probes need no key: addresses, paths and statements are for the log.
    """
    log.warning("the database fails its check", exc_info=error)
    return {"ok": False, "detail": "The database does not answer; the service's log says why."}


class StoreCheck:
    """Check the store by writing and reading a small object.

    It does so at most every ten seconds, however often it is called.
    """

    def __init__(self, store: ArtifactStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._folder = f"health/{secrets.token_hex(4)}"  # of this process
        self._lock = threading.Lock()
        self._trying = False
        self._began_at = -EVERY_S
        self._trouble: str | None = None

    def trouble(self) -> str | None:
        """Report what is wrong with the store; None if nothing.

        One thread tries; the others get the last result.
        """
        if not self._begins():
            took_s = self._clock() - self._began_at if self._trying else 0.0
            return f"The store has not answered for {took_s:.0f} s." if took_s > SLOW_S else self._trouble
        try:
            self._trouble = self._try()
        finally:
            self._trying = False
        return self._trouble

    def _begins(self) -> bool:
        with self._lock:
            begins = not self._trying and self._clock() - self._began_at >= EVERY_S
            if begins:
                self._trying, self._began_at = True, self._clock()
        return begins

    def _try(self) -> str | None:
        data = secrets.token_bytes(16)
        try:
            self._store.put(f"{self._folder}/probe", data)
            read = self._store.fetch(f"{self._folder}/probe").read_bytes()
            self._store.delete(self._folder)
        except (OSError, TuneserveError) as error:
            log.warning("the store fails its check", exc_info=error)
            return f"The store fails: {getattr(error, 'strerror', None) or type(error).__name__}."
        return None if read == data else "The store gives back other bytes than it was given."
