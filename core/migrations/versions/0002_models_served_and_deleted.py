"""Models: when each last served, and what of it was deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = ("served_at", "files_deleted_at", "deleted_at")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("models", sa.Column(name, sa.Double(), nullable=True))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("models", name)
