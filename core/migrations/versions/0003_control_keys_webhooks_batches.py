"""Jobs that wait by priority and can be paused, checkpoints within an epoch, keys, webhooks, batches of predictions."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # not as a batch: that makes jobs anew, and dropping the old table would take all events and checkpoints with it
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        "ALTER TABLE jobs ADD COLUMN wanted VARCHAR(16) CONSTRAINT ck_jobs_wanted CHECK (wanted IN ('pause', 'keep'))"
    )
    op.add_column("jobs", sa.Column("claimed_at", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("ran_s", sa.Double(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("retry_of", sa.String(length=255), nullable=True))  # a job, or one deleted since
    op.drop_index(op.f("ix_jobs_status_created_at"), "jobs")
    op.create_index(op.f("ix_jobs_status_priority_created_at"), "jobs", ["status", "priority", "created_at"])
    op.add_column("checkpoints", sa.Column("step", sa.Integer(), nullable=True))
    op.execute("UPDATE checkpoints SET step = epoch")
    with op.batch_alter_table("checkpoints") as checkpoints:
        checkpoints.alter_column("step", existing_type=sa.Integer(), nullable=False)
        checkpoints.drop_constraint(op.f("uq_checkpoints_job_id_attempt_epoch"), type_="unique")
        checkpoints.create_unique_constraint(op.f("uq_checkpoints_job_id_attempt_step"), ["job_id", "attempt", "step"])
    op.create_table(
        "keys",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_keys_digest")),
    )
    op.create_table(
        "creations",
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=False),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("path", "owner", "idempotency_key", name=op.f("pk_creations")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("job_id", sa.String(length=255), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("done_at", sa.Double(), nullable=True),
        sa.Column("error", sa.String(length=1000), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_deliveries_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index(op.f("ix_deliveries_done_at_due_at"), "deliveries", ["done_at", "due_at"])
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "queued",
                "running",
                "succeeded",
                "failed",
                "cancelled",
                name="batchstatus",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("model_id", sa.String(length=255), nullable=True),
        sa.Column("worker_id", sa.String(length=255), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("beat_at", sa.Double(), nullable=True),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_batches_status")
        ),
        sa.CheckConstraint("status <> 'failed' OR error IS NOT NULL", name=op.f("ck_batches_failure_has_a_reason")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_batches_model_id")),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], name=op.f("fk_batches_worker_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index(op.f("ix_batches_status_created_at"), "batches", ["status", "created_at"])


def downgrade() -> None:
    for table in ("batches", "deliveries", "creations", "keys"):
        op.drop_table(table)
    with op.batch_alter_table("checkpoints") as checkpoints:
        checkpoints.drop_constraint(op.f("uq_checkpoints_job_id_attempt_step"), type_="unique")
        checkpoints.create_unique_constraint(
            op.f("uq_checkpoints_job_id_attempt_epoch"), ["job_id", "attempt", "epoch"]
        )
        checkpoints.drop_column("step")
    op.drop_index(op.f("ix_jobs_status_priority_created_at"), "jobs")
    op.create_index(op.f("ix_jobs_status_created_at"), "jobs", ["status", "created_at"])
    for column in ("wanted", "priority", "claimed_at", "ran_s", "retry_of"):
        op.drop_column("jobs", column)
