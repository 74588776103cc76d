"""API keys. On the way down they are lost: an older slmreg has none, and listens on loopback addresses only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("created_s", sa.Float(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("api_keys")
