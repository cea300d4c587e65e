"""The ways of jobs and batches through their states, held by the schema: as core.tables and core.batches had them.

A later migration that makes one of these tables anew, as SQLite needs it for most changes, makes its trigger anew too.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ALLOWED = {
    "jobs": {
        "queued": ("running", "paused", "cancelled"),
        "running": ("queued", "paused", "cancelling", "succeeded", "failed"),
        "paused": ("queued", "cancelled"),
        "cancelling": ("cancelled",),
    },
    "batches": {
        "queued": ("running", "cancelled"),
        "running": ("queued", "succeeded", "failed", "cancelled"),
    },
}
FUNCTION = """
CREATE FUNCTION refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        MESSAGE = OLD.status || ' cannot become ' || NEW.status, ERRCODE = 'check_violation';
END $$
"""
REFUSE = {
    "postgresql": "EXECUTE FUNCTION refuse_transition()",
    "sqlite": "BEGIN SELECT RAISE(ABORT, 'this status cannot follow that one'); END",
}


def upgrade() -> None:
    kind = op.get_context().dialect.name
    if kind == "postgresql":
        op.execute(FUNCTION)
    for table, allowed in ALLOWED.items():
        ways = ", ".join(f"'{before}>{after}'" for before, following in allowed.items() for after in following)
        op.execute(
            f"CREATE TRIGGER {table}_transitions BEFORE UPDATE OF status ON {table} FOR EACH ROW "
            f"WHEN (OLD.status <> NEW.status AND OLD.status || '>' || NEW.status NOT IN ({ways})) {REFUSE[kind]}"
        )


def downgrade() -> None:
    kind = op.get_context().dialect.name
    for table in ALLOWED:
        op.execute(f"DROP TRIGGER {table}_transitions" + (f" ON {table}" if kind == "postgresql" else ""))
    if kind == "postgresql":
        op.execute("DROP FUNCTION refuse_transition()")
