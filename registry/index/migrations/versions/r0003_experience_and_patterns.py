"""Measurements and evaluations of models; pins that follow a pattern, and what a pin falls back to.

On the way down measurements, evaluations, and pins with a pattern are lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "measurements",
        sa.Column("model_key", sa.Integer(), sa.ForeignKey("models.key"), primary_key=True),
        sa.Column("content", sa.String(), primary_key=True),
        sa.Column("device", sa.String(), primary_key=True),
        sa.Column("threads", sa.Integer(), primary_key=True),
        sa.Column("measured_s", sa.Float(), nullable=False),
        sa.Column("loads", sa.Integer(), nullable=False),
        *_unknown_at_first(sa.Float(), "load_s"),
        *_unknown_at_first(sa.Integer(), "resident_bytes", "peak_bytes", "context_tokens"),
        sa.Column("answers", sa.Integer(), nullable=False),
        *_unknown_at_first(sa.Float(), "tokens_per_second", "prompt_tokens_per_second", "ttft_s"),
        *_unknown_at_first(sa.Float(), "prompt_tokens", "completion_tokens"),
    )
    op.create_table(
        "evaluations",
        sa.Column("key", sa.Integer(), primary_key=True),
        sa.Column("model_key", sa.Integer(), sa.ForeignKey("models.key"), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("model_id", "content", "task", "kind")),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("evaluated_s", sa.Float(), nullable=False),
        sa.Column("is_thinking", sa.Boolean()),
        sa.Column("notes", sa.String(), nullable=False),
    )
    op.create_index("ix_evaluations_model_key", "evaluations", ["model_key"])
    with op.batch_alter_table("pins") as pins:
        pins.add_column(sa.Column("pattern", sa.String()))
        pins.add_column(sa.Column("fallback", sa.String(), nullable=False, server_default="error"))
    with op.batch_alter_table("pins") as pins:
        pins.alter_column("fallback", server_default=None, existing_type=sa.String(), existing_nullable=False)


def downgrade() -> None:
    op.execute("DELETE FROM pins WHERE pattern IS NOT NULL")
    with op.batch_alter_table("pins") as pins:
        pins.drop_column("pattern")
        pins.drop_column("fallback")
    op.drop_table("evaluations")
    op.drop_table("measurements")


def _unknown_at_first(kind: sa.Float[float] | sa.Integer, *names: str) -> Iterable[sa.Column[Any]]:
    return [sa.Column(name, kind) for name in names]
