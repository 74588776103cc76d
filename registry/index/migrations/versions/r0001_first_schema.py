"""The first schema: models, problems of folders, roots, pins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("key", sa.Integer(), primary_key=True),
        sa.Column("model_id", sa.String(), nullable=False, unique=True),
        sa.Column("declared_name", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False, unique=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("problems", sa.String(), nullable=False),
        sa.Column("tasks", sa.String(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("model_type", sa.String(), nullable=False),
        sa.Column("parameters", sa.Integer()),
        sa.Column("precision", sa.String(), nullable=False),
        sa.Column("accuracy_level", sa.Integer()),
        sa.Column("execution_provider", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("weight_bytes", sa.Integer(), nullable=False),
        sa.Column("context_tokens", sa.Integer(), nullable=False),
        sa.Column("kv_bytes_per_token", sa.Integer(), nullable=False),
        sa.Column("vocab_size", sa.Integer()),
        sa.Column("publisher", sa.String()),
        sa.Column("license", sa.String()),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("evidence", sa.String(), nullable=False),
        sa.Column("missing_since_s", sa.Float()),
    )
    op.create_table(
        "folder_problems",
        sa.Column("path", sa.String(), primary_key=True),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("file", sa.String()),
        sa.Column("status", sa.String(), nullable=False),
    )
    op.create_table(
        "roots",
        sa.Column("path", sa.String(), primary_key=True),
        sa.Column("added_at_s", sa.Float(), nullable=False),
    )
    op.create_table(
        "pins",
        sa.Column("task", sa.String(), primary_key=True),
        sa.Column("model_key", sa.Integer(), sa.ForeignKey("models.key"), nullable=False),
    )
    op.create_index("ix_pins_model_key", "pins", ["model_key"])
    op.create_table(
        "scans",
        sa.Column("key", sa.Integer(), primary_key=True),
        sa.Column("finished_at_s", sa.Float(), nullable=False),
    )


def downgrade() -> None:
    for table in ("scans", "pins", "roots", "folder_problems", "models"):
        op.drop_table(table)
