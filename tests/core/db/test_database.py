"""core.db.database: one database, its sessions and its schema."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError, OperationalError

from core.db.database import MIGRATIONS, Database, newest_version
from core.db.tables import Base, Job, Worker
from core.settings import Settings
from tests import ROOT
from tests.conftest import NOW


def pragma(db: Database, name: str) -> object:
    with db.read() as session:
        return session.scalar(text(f"PRAGMA {name}"))


def add_worker(db: Database, name: str) -> None:
    with db.write() as session:
        session.add(Worker(id=name, host="here", pid=1, started_at=NOW, heartbeat_at=NOW))


def workers(db: Database) -> set[str]:
    with db.read() as session:
        return set(session.scalars(text("SELECT id FROM workers")))


@pytest.mark.parametrize(
    ("name", "value"), [("journal_mode", "wal"), ("foreign_keys", 1), ("busy_timeout", 30000), ("synchronous", 2)]
)
def test_sqlite_is_set_up_for_several_processes(db: Database, name: str, value: object) -> None:
    assert pragma(db, name) == value


def test_the_directory_of_a_new_database_is_made(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/not/there/yet.db")
    db.migrate()
    db.close()
    assert (tmp_path / "not" / "there" / "yet.db").is_file()


def test_what_is_written_can_be_read(db: Database) -> None:
    add_worker(db, "worker_a")
    assert workers(db) == {"worker_a"}


def test_a_write_that_fails_leaves_nothing(db: Database) -> None:
    def write_and_fail() -> None:
        with db.write() as session:
            session.add(Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert workers(db) == set()


def test_an_error_does_not_tell_what_was_to_be_written(db: Database) -> None:
    add_worker(db, "worker_a")
    with pytest.raises(IntegrityError) as error, db.write() as session:
        session.add(Worker(id="worker_a", host="whsec_secret", pid=1, started_at=NOW, heartbeat_at=NOW))
    assert "UNIQUE" in str(error.value)
    assert "whsec_secret" not in str(error.value) + repr(error.value)


def test_a_reader_sees_one_state_while_others_write(db: Database) -> None:
    with db.read() as session:
        assert session.scalar(text("SELECT count(*) FROM workers")) == 0
        add_worker(db, "worker_a")
        assert session.scalar(text("SELECT count(*) FROM workers")) == 0
    assert workers(db) == {"worker_a"}


def test_a_writer_holds_the_lock_from_its_first_statement(db: Database, settings: Settings) -> None:
    other = Database(settings.resolved_database_url)
    with db.write() as session, other.read() as impatient:
        session.execute(text("SELECT 1"))  # nothing is written yet
        impatient.execute(text("PRAGMA busy_timeout=0"))
        with pytest.raises(OperationalError, match="locked"):
            impatient.execute(text("DELETE FROM workers"))
    other.close()


def test_writers_that_read_first_wait_for_each_other(db: Database) -> None:
    """Writers that read first wait for each other.

    With deferred transactions this fails at once with "database is locked".
    """
    add_worker(db, "worker_a")

    def count_up() -> None:
        for _ in range(20):
            with db.write() as session:
                worker = session.get_one(Worker, "worker_a")
                worker.pid += 1

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as session:
        assert session.get_one(Worker, "worker_a").pid == 81


def test_rows_that_point_nowhere_are_refused(db: Database, enqueue: Callable[..., Job]) -> None:
    job = enqueue()
    with pytest.raises(IntegrityError), db.write() as session:
        session.execute(text("UPDATE jobs SET model_id = 'model_gone' WHERE id = :id"), {"id": job.id})


def test_migrating_twice_changes_nothing(db: Database) -> None:
    add_worker(db, "worker_a")
    db.migrate()
    assert workers(db) == {"worker_a"}


def test_processes_that_migrate_at_once_all_find_it_done(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    code = "import sys; sys.stdin.readline(); from core.db.database import Database; Database(sys.argv[1]).migrate()"
    processes = [subprocess.Popen([sys.executable, "-c", code, url], stdin=subprocess.PIPE, cwd=ROOT) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0, 0, 0]


def test_threads_that_migrate_at_once_all_find_it_done(tmp_path: Path) -> None:
    databases = [Database(f"sqlite:///{tmp_path}/new.db") for _ in range(4)]
    failures: list[Exception] = []

    def migrate(db: Database) -> None:
        try:
            db.migrate()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=migrate, args=(db,)) for db in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for db in databases:
        db.close()
    assert failures == []


def test_every_migration_can_be_undone(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/new.db")
    db.migrate()
    move(db, command.downgrade, "base")
    assert tables(db) == {"alembic_version"}
    db.migrate()
    add_worker(db, "worker_a")
    assert workers(db) == {"worker_a"}
    db.close()


def tables(db: Database) -> set[str]:
    with db.read() as session:
        return set(inspect(session.connection()).get_table_names())


def move(db: Database, how: Callable[[Config, str], None], revision: str) -> None:
    with db._writer.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(ROOT / "core" / "db" / "migrations"))
        how(config, revision)


def test_the_migrated_schema_is_that_of_the_tables(db: Database) -> None:
    with db.read() as session:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(session.connection(), opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_the_migrated_schema_has_the_checks_of_the_tables(db: Database) -> None:
    """The migrated schema has the tables' CHECK constraints.

    Alembic compares none.
    """
    fresh = create_engine("sqlite://")
    Base.metadata.create_all(fresh)
    with db.read() as session:
        assert checks(session.connection()) == checks(fresh)


def checks(bind: Connection | Engine) -> dict[str, dict[str | None, str]]:
    schema = inspect(bind)
    return {
        table: {check["name"]: check["sqltext"] for check in schema.get_check_constraints(table)}
        for table in Base.metadata.tables
    }


def test_a_database_that_is_up_to_date_is_not_migrated(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.db.database._upgrade", lambda connection: pytest.fail("it was"))
    db.migrate()


def test_the_newest_version_is_the_one_that_alembic_would_come_to() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert newest_version() == ScriptDirectory.from_config(config).get_current_head()
