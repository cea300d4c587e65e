"""Deliveries by the host they go to, so that one that does not answer holds up its own alone."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("host", sa.String(length=255), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("deliveries", "host")
