"""Alembic's entry: one connection, given by `core.db.Database.migrate`, in one transaction."""

from alembic import context

from core.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # SQLite too: our BEGIN IMMEDIATE holds, so a second process waits and finds it done
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
