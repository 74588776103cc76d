"""Which models the batched engine was found to run as the generator does.

On the way down that is lost, and found out again at the next load.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "engine_proofs",
        sa.Column("model_key", sa.Integer(), sa.ForeignKey("models.key"), primary_key=True),
        sa.Column("content", sa.String(), primary_key=True),
        sa.Column("runtime", sa.String(), primary_key=True),
        sa.Column("is_proven", sa.Boolean(), nullable=False),
        sa.Column("proven_s", sa.Float(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("engine_proofs")
