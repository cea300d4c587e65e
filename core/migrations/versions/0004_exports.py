"""Programs of models, made when they are asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "exports",
        sa.Column("model_id", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("wanted_at", sa.Double(), nullable=False),
        sa.CheckConstraint("status IN ('wanted', 'made', 'failed')", name=op.f("ck_exports_status")),
        sa.CheckConstraint("status <> 'failed' OR error IS NOT NULL", name=op.f("ck_exports_failure_has_a_reason")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_exports_model_id")),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_exports")),
    )


def downgrade() -> None:
    op.drop_table("exports")
