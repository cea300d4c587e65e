"""Database with read and write sessions: SQLite or PostgreSQL.

SQLite is the default; a URL selects PostgreSQL.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm import Session

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_MS = 30_000  # how long a writer waits for another; SQLite only
MIGRATION_LOCK = 7_365_201  # an arbitrary number; PostgreSQL only
UNAVAILABLE = (OperationalError, InterfaceError, PoolExhausted)  # locked, full or not reachable: retrying may help


class Database:
    """A database engine with sessions for reading and for writing.

    A write transaction on SQLite begins IMMEDIATE. A deferred one that reads and then writes fails at once with
    "database is locked" if another writer committed in between, whatever the timeout.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # errors go into logs and rows, and parameters may be secrets
        self._engine = create_engine(url, hide_parameters=True, pool_pre_ping=not url.startswith("sqlite"))
        if self._engine.dialect.name == "sqlite":
            _make_directory(url)
            event.listen(self._engine, "connect", _set_pragmas)
            event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(immediate=True)
        self._sessions = 0
        self._ended = threading.Condition()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for one consistent read."""
        with self._counted(), Session(self._engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session in one transaction.

        It is committed at the end, and rolled back on an exception.
        """
        with self._counted(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Upgrade the schema to the newest version.

        Safe when several processes start at once.
        """
        with self._writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            if _version(connection) != newest_version():
                _upgrade(connection)

    def is_migrated(self) -> bool:
        """Check whether the schema is the newest version."""
        with self._engine.connect() as connection:
            return _version(connection) == newest_version()

    def close(self) -> None:
        """Close all connections after the sessions of other threads.

        Waits for them at most as long as a write waits for a busy database.
        """
        with self._ended:
            self._ended.wait_for(lambda: self._sessions == 0, BUSY_MS / 1000)
        self._engine.dispose()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._ended:
            self._sessions += 1
        try:
            yield
        finally:
            with self._ended:
                self._sessions -= 1
                self._ended.notify_all()


def newest_version() -> str:
    """Return the schema's newest version.

    It is the number of the last migration's file.
    """
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py")).split("_")[0]


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def _upgrade(connection: Connection) -> None:
    from alembic import command  # imported late: a tenth of the start-up time, and rarely needed
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(config, "head")


def _make_directory(url: str) -> None:
    path = make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)


def _set_pragmas(connection: Any, _record: object) -> None:
    """Set SQLite's pragmas for a new connection.

    synchronous=FULL, since in WAL mode NORMAL can lose the last commits in a power cut: a job already answered with
    202.
    """
    connection.isolation_level = None  # switches off the driver's own BEGIN; ours is in _begin
    for pragma in (f"busy_timeout={BUSY_MS}", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    _use_wal(connection)


def _use_wal(connection: Any) -> None:
    """Switch to WAL mode, retrying while another process does the same.

    SQLite ignores its busy timeout here: of two processes that open a new file at once, one would fail.
    """
    until = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
