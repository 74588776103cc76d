"""Presets: names for a model with a way to use it. On the way down they are lost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "presets",
        sa.Column("name", sa.String(), primary_key=True),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("base", "system", "parameters", "messages")),
        sa.Column("modified_s", sa.Float(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("presets")
