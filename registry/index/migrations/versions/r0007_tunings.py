"""How models run best on a machine. On the way down that is lost, and can be measured again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tunings",
        sa.Column("model_key", sa.Integer(), sa.ForeignKey("models.key"), primary_key=True),
        *(sa.Column(name, sa.String(), primary_key=True) for name in ("content", "runtime", "machine")),
        sa.Column("threads", sa.Integer(), nullable=False),
        sa.Column("prefill_chunk_tokens", sa.Integer(), nullable=True),
        sa.Column("max_concurrent", sa.Integer(), nullable=True),
        sa.Column("tuned_s", sa.Float(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("tunings")
