"""The tables as SQLModel classes. Rows never leave the package: ``registry.index.rows`` turns them into frozen values.

Imported only to write: sqlmodel takes 0.25-0.6 s to import, as long as a whole ``slmreg list`` may take.
The Alembic revisions make this schema; a test holds the two together. The number of the last write, which tells whether
somebody else wrote, is SQLite's ``user_version``.
"""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class ModelRow(SQLModel, table=True):
    """One model that is or was here. ``key`` never changes: what hangs on a model has it.

    ``declared_name`` is what the folder calls itself; ``name`` differs from it where the model in the folder
    ``duplicate_of`` has the same id. ``status`` is the folder's own. ``facts`` is what was read from the folder, as
    JSON. Times are Unix time.
    """

    __tablename__ = "models"

    key: int | None = Field(default=None, primary_key=True)
    model_id: str = Field(unique=True)
    declared_name: str
    name: str
    duplicate_of: str | None
    version: str
    alias: str
    path: str
    source: str
    status: str
    fingerprint: str
    content: str
    revision: int
    first_seen_s: float
    missing_since_s: float | None
    facts: str


class LocationRow(SQLModel, table=True):
    """Another folder with the model of a row, and what was read from it."""

    __tablename__ = "locations"

    path: str = Field(primary_key=True)
    model_key: int = Field(foreign_key="models.key", index=True)
    name: str
    version: str
    alias: str
    source: str
    status: str
    fingerprint: str
    content: str
    facts: str


class VerificationRow(SQLModel, table=True):
    """The last full check of a model; ``digests`` and ``problems`` are JSON."""

    __tablename__ = "verifications"

    model_key: int = Field(foreign_key="models.key", primary_key=True)
    fingerprint: str
    verified_s: float
    digests: str
    problems: str


class ProblemRow(SQLModel, table=True):
    """A folder that is not a usable model."""

    __tablename__ = "folder_problems"

    path: str = Field(primary_key=True)
    code: str
    message: str
    file: str | None
    status: str


class RootRow(SQLModel, table=True):
    """What a person decided about a folder of models."""

    __tablename__ = "roots"

    path: str = Field(primary_key=True)
    is_added: bool
    is_enabled: bool
    settle_s: float | None
    added_at_s: float


class PinRow(SQLModel, table=True):
    """The model that a person wants for a task.

    Without ``model_key`` it is what ``pattern`` means at the moment, or the ``reference`` of one that is waited for.
    """

    __tablename__ = "pins"

    task: str = Field(primary_key=True)
    model_key: int | None = Field(foreign_key="models.key", index=True)
    reference: str | None
    pattern: str | None
    fallback: str


class MeasurementRow(SQLModel, table=True):
    """What was measured of one content of a model on a device with so many threads."""

    __tablename__ = "measurements"

    model_key: int = Field(foreign_key="models.key", primary_key=True)
    content: str = Field(primary_key=True)
    device: str = Field(primary_key=True)
    threads: int = Field(primary_key=True)
    measured_s: float
    loads: int
    load_s: float | None
    resident_bytes: int | None
    peak_bytes: int | None
    context_tokens: int | None
    answers: int
    tokens_per_second: float | None
    prompt_tokens_per_second: float | None
    ttft_s: float | None
    prompt_tokens: float | None
    completion_tokens: float | None


class EngineProofRow(SQLModel, table=True):
    """Whether the batched engine of a runtime gave what the generator gives for one content of a model."""

    __tablename__ = "engine_proofs"

    model_key: int = Field(foreign_key="models.key", primary_key=True)
    content: str = Field(primary_key=True)
    runtime: str = Field(primary_key=True)
    is_proven: bool
    proven_s: float


class TuningRow(SQLModel, table=True):
    """How one content of a model runs best with a runtime on a machine."""

    __tablename__ = "tunings"

    model_key: int = Field(foreign_key="models.key", primary_key=True)
    content: str = Field(primary_key=True)
    runtime: str = Field(primary_key=True)
    machine: str = Field(primary_key=True)
    threads: int
    prefill_chunk_tokens: int | None
    max_concurrent: int | None
    tuned_s: float


class EvaluationRow(SQLModel, table=True):
    """How well one content of a model did a task. ``model_id`` is what it was called then, ``notes`` is JSON."""

    __tablename__ = "evaluations"

    key: int | None = Field(default=None, primary_key=True)
    model_key: int = Field(foreign_key="models.key", index=True)
    model_id: str
    content: str
    task: str
    kind: str
    score: float
    items: int
    evaluated_s: float
    is_thinking: bool | None
    notes: str


class PresetRow(SQLModel, table=True):
    """A name for a model with a way to use it; ``system``, ``parameters`` and ``messages`` are JSON."""

    __tablename__ = "presets"

    name: str = Field(primary_key=True)
    base: str
    system: str
    parameters: str
    messages: str
    modified_s: float


class HintRow(SQLModel, table=True):
    """One entry of a ``models.json``, as JSON, at its place in the list."""

    __tablename__ = "hints"

    position: int = Field(primary_key=True)
    entry: str


class LibraryRow(SQLModel, table=True):
    """A library of custom operators, by the SHA-256 of its file, that a person allowed for a model."""

    __tablename__ = "allowed_libraries"

    sha256: str = Field(primary_key=True)
    model_id: str
    allowed_at_s: float


class ApiKeyRow(SQLModel, table=True):
    """A key that lets somebody use the daemon: the SHA-256 of it, never the key."""

    __tablename__ = "api_keys"

    name: str = Field(primary_key=True)
    scope: str
    sha256: str
    created_s: float
