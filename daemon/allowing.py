"""The custom operator library of a model, as a person who is to allow it sees it.

What is allowed is the content of a file, by its SHA-256: a library that changes is blocked again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from registry.errors import ModelNotUsable
from registry.model import Model, Status
from registry.store import Registry


@dataclass(frozen=True, slots=True)
class Library:
    """Native code that came with a model."""

    model_id: str
    path: Path
    size_bytes: int
    sha256: str
    is_allowed: bool


def library_of(registry: Registry, model: Model) -> Library:
    """Raises ModelNotUsable if the model has none, or if it cannot be read."""
    if model.custom_ops_library is None:
        raise ModelNotUsable(f"{model.id} has no library of custom operators, so there is nothing to allow.")
    if model.status is Status.MISSING:
        raise ModelNotUsable(f"{model.id} is missing: there is no model at {model.path} now.")
    path = model.path / model.custom_ops_library
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = path.stat().st_size
    except OSError as error:
        raise ModelNotUsable(
            f"{path}, which {model.id} wants to run, cannot be read: {error.strerror or error}. Copy the model again."
        ) from error
    return Library(model.id, path, size_bytes, sha256, sha256 in registry.allowed_libraries())
