"""Content, revisions and locations of models; full checks, hints, allowed libraries; choices about roots.

What is read from a folder moves into one JSON column, ``facts``. Rows, pins and roots are kept both ways; what the
first schema has no place for is lost on the way down.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Columns of 0001 that became facts, and what stood for "nothing was read".
_JSON_FACTS: Mapping[str, Any] = {"problems": [], "tasks": [], "evidence": {}}
_PLAIN_FACTS: Mapping[str, Any] = {
    "family": "unknown",
    "model_type": "unknown",
    "parameters": None,
    "precision": "unknown",
    "accuracy_level": None,
    "execution_provider": "cpu",
    "device": "cpu",
    "size_bytes": 0,
    "weight_bytes": 0,
    "context_tokens": 2048,
    "kv_bytes_per_token": 0,
    "vocab_size": None,
    "publisher": None,
    "license": None,
}
_KEPT = (
    "key",
    "model_id",
    "declared_name",
    "name",
    "version",
    "alias",
    "path",
    "source",
    "status",
    "fingerprint",
    "missing_since_s",
)


def upgrade() -> None:
    connection = op.get_bind()
    now_s = connection.execute(sa.text("SELECT CAST(strftime('%s', 'now') AS REAL)")).scalar_one()
    rows = connection.execute(sa.text("SELECT * FROM models")).mappings().all()
    roots = connection.execute(sa.text("SELECT * FROM roots")).mappings().all()
    op.drop_table("models")
    models = _create_models()
    by_id = {row["model_id"].casefold(): row["path"] for row in rows}
    op.bulk_insert(models, [_upgraded({**row}, by_id, now_s) for row in rows])
    op.drop_table("roots")
    op.bulk_insert(_create_roots(), [{**row, "is_added": True, "is_enabled": True, "settle_s": None} for row in roots])
    _create_locations_and_verifications()
    op.create_table("hints", sa.Column("position", sa.Integer(), primary_key=True), _text("entry"))
    op.create_table(
        "allowed_libraries",
        sa.Column("sha256", sa.String(), primary_key=True),
        _text("model_id"),
        sa.Column("allowed_at_s", sa.Float(), nullable=False),
    )
    with op.batch_alter_table("pins") as pins:
        pins.alter_column("model_key", nullable=True, existing_type=sa.Integer())
        pins.add_column(sa.Column("reference", sa.String()))
    op.drop_table("scans")


def downgrade() -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT * FROM models ORDER BY status = 'missing', key")).mappings().all()
    by_path = {row["path"]: row for row in reversed(rows)}
    for table in ("allowed_libraries", "hints", "verifications", "locations"):
        op.drop_table(table)
    op.drop_table("models")
    op.bulk_insert(_create_first_models(), [_downgraded({**row}) for row in by_path.values()])
    op.execute("DELETE FROM pins WHERE model_key IS NULL OR model_key NOT IN (SELECT key FROM models)")
    with op.batch_alter_table("pins") as pins:
        pins.drop_column("reference")
        pins.alter_column("model_key", nullable=False, existing_type=sa.Integer())
    op.execute("DELETE FROM roots WHERE NOT is_added OR NOT is_enabled")
    with op.batch_alter_table("roots") as roots:
        for column in ("is_added", "is_enabled", "settle_s"):
            roots.drop_column(column)
    op.create_table(
        "scans",
        sa.Column("key", sa.Integer(), primary_key=True),
        sa.Column("finished_at_s", sa.Float(), nullable=False),
    )


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _create_models() -> sa.Table:
    return op.create_table(
        "models",
        sa.Column("key", sa.Integer(), primary_key=True),
        sa.Column("model_id", sa.String(), nullable=False, unique=True),
        *(_text(name) for name in ("declared_name", "name")),
        _text("duplicate_of", nullable=True),
        *(_text(name) for name in ("version", "alias", "path", "source", "status", "fingerprint", "content")),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("first_seen_s", sa.Float(), nullable=False),
        sa.Column("missing_since_s", sa.Float()),
        _text("facts"),
    )


def _create_locations_and_verifications() -> None:
    op.create_table(
        "locations",
        sa.Column("path", sa.String(), primary_key=True),
        sa.Column("model_key", sa.Integer(), sa.ForeignKey("models.key"), nullable=False),
        *(_text(name) for name in ("name", "version", "alias", "source", "status", "fingerprint", "content", "facts")),
    )
    op.create_index("ix_locations_model_key", "locations", ["model_key"])
    op.create_table(
        "verifications",
        sa.Column("model_key", sa.Integer(), sa.ForeignKey("models.key"), primary_key=True),
        _text("fingerprint"),
        sa.Column("verified_s", sa.Float(), nullable=False),
        *(_text(name) for name in ("digests", "problems")),
    )


def _create_roots() -> sa.Table:
    return op.create_table(
        "roots",
        sa.Column("path", sa.String(), primary_key=True),
        sa.Column("is_added", sa.Boolean(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("settle_s", sa.Float()),
        sa.Column("added_at_s", sa.Float(), nullable=False),
    )


def _create_first_models() -> sa.Table:
    return op.create_table(
        "models",
        sa.Column("key", sa.Integer(), primary_key=True),
        sa.Column("model_id", sa.String(), nullable=False, unique=True),
        *(_text(name) for name in ("declared_name", "name", "version", "alias")),
        sa.Column("path", sa.String(), nullable=False, unique=True),
        *(_text(name) for name in ("source", "status", "problems", "tasks", "family", "model_type")),
        sa.Column("parameters", sa.Integer()),
        _text("precision"),
        sa.Column("accuracy_level", sa.Integer()),
        *(_text(name) for name in ("execution_provider", "device")),
        *(
            sa.Column(name, sa.Integer(), nullable=False)
            for name in ("size_bytes", "weight_bytes", "context_tokens", "kv_bytes_per_token")
        ),
        sa.Column("vocab_size", sa.Integer()),
        *(_text(name, nullable=True) for name in ("publisher", "license")),
        *(_text(name) for name in ("fingerprint", "evidence")),
        sa.Column("missing_since_s", sa.Float()),
    )


def _upgraded(row: Mapping[str, Any], by_id: Mapping[str, str], now_s: float) -> dict[str, Any]:
    facts = {name: row[name] for name, nothing in _PLAIN_FACTS.items() if row[name] != nothing}
    facts |= {name: found for name, nothing in _JSON_FACTS.items() if (found := json.loads(row[name])) != nothing}
    if "problems" in facts:
        facts["problems"] = _without_duplicates(facts["problems"])
    owner = by_id.get(f"{row['declared_name']}:{row['version']}".casefold())
    return {
        **{name: row[name] for name in _KEPT},
        "duplicate_of": (owner or row["path"]) if row["name"] != row["declared_name"] else None,
        "content": "",
        "revision": 1,
        "first_seen_s": now_s,
        "facts": json.dumps(facts),
    }


def _without_duplicates(problems: Iterable[list[Any]]) -> list[list[Any]]:
    """The first schema kept this problem with the row; now it follows from ``duplicate_of``."""
    return [problem for problem in problems if problem[0] != "duplicate_id"]


def _downgraded(row: Mapping[str, Any]) -> dict[str, Any]:
    facts = json.loads(row["facts"])
    return {
        **{name: row[name] for name in _KEPT},
        **{name: facts.get(name, nothing) for name, nothing in _PLAIN_FACTS.items()},
        **{name: json.dumps(facts.get(name, nothing)) for name, nothing in _JSON_FACTS.items()},
    }
