"""The tables as SQLModel classes. Rows never leave the package: ``registry.rows`` turns them into frozen values.

Imported only to write: sqlmodel takes 0.25-0.6 s to import, as long as a whole ``slmreg list`` may take.
The Alembic revisions make this schema; a test holds the two together.
"""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class ModelRow(SQLModel, table=True):
    """One model folder that is or was here. ``key`` never changes: pins and measurements hang on it.

    ``declared_name`` is what the folder calls itself; ``name`` differs from it where another folder has the same id.
    Lists and mappings are JSON texts. ``missing_since_s`` is Unix time.
    """

    __tablename__ = "models"

    key: int | None = Field(default=None, primary_key=True)
    model_id: str = Field(unique=True)
    declared_name: str
    name: str
    version: str
    alias: str
    path: str = Field(unique=True)
    source: str
    status: str
    problems: str
    tasks: str
    family: str
    model_type: str
    parameters: int | None
    precision: str
    accuracy_level: int | None
    execution_provider: str
    device: str
    size_bytes: int
    weight_bytes: int
    context_tokens: int
    kv_bytes_per_token: int
    vocab_size: int | None
    publisher: str | None
    license: str | None
    fingerprint: str
    evidence: str
    missing_since_s: float | None = None


class ProblemRow(SQLModel, table=True):
    """A folder that is not a usable model."""

    __tablename__ = "folder_problems"

    path: str = Field(primary_key=True)
    code: str
    message: str
    file: str | None
    status: str


class RootRow(SQLModel, table=True):
    """A folder of models that a person added."""

    __tablename__ = "roots"

    path: str = Field(primary_key=True)
    added_at_s: float


class PinRow(SQLModel, table=True):
    """The model that a person wants for a task."""

    __tablename__ = "pins"

    task: str = Field(primary_key=True)
    model_key: int = Field(foreign_key="models.key", index=True)


class ScanRow(SQLModel, table=True):
    """One row: when the last full or partial scan was written down."""

    __tablename__ = "scans"

    key: int = Field(default=1, primary_key=True)
    finished_at_s: float
