"""Run the migrations in one transaction.

They run on the connection of `core.db.database.Database.migrate`, or on alembic.ini's database.
"""

from alembic import context
from sqlalchemy import Connection, create_engine

from core.db.tables import Base


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transactional_ddl=True,  # SQLite too: our BEGIN IMMEDIATE holds, so a second process waits and finds it done
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if given := context.config.attributes.get("connection"):
    run(given)
else:  # alembic's command line
    with create_engine(context.config.get_main_option("sqlalchemy.url", "")).begin() as own:
        run(own)
