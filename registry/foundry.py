"""Foundry Local's own files: ``inference_model.json`` in a model's folder, and the catalog snapshot of a cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from registry.documents import Fields, read_json_object
from registry.listing import exists
from registry.naming import NO_VERSION
from registry.problems import ProblemCode

INFERENCE_MODEL_FILE = "inference_model.json"
CATALOG_FILE = "foundry.modelinfo.json"


@dataclass(frozen=True, slots=True)
class InferenceModel:
    """What a folder declares: its id, and whether it brings a prompt template, with a place for tools."""

    name: str | None
    has_template: bool
    has_tools: bool


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """What Foundry's catalog knows about one model beyond its files."""

    alias: str | None
    publisher: str | None
    license: str | None
    task: str | None

    @property
    def digest(self) -> str:
        """Changes when the entry does."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Entries by id, in lower case."""

    entries: Mapping[str, CatalogEntry] = field(default_factory=dict)

    def find(self, name: str, version: str) -> CatalogEntry | None:
        return self.entries.get(f"{name}:{version}".lower())


def read_inference_model(folder: Path) -> InferenceModel:
    """Raises InvalidModelFolder. ``Name`` counts in any case, which Foundry itself passes over."""
    document = read_json_object(folder / INFERENCE_MODEL_FILE, ProblemCode.INFERENCE_MODEL_INVALID)
    name_key = next((key for key in document if key.lower() == "name"), "Name")
    template_key = next((key for key in document if key.lower() == "prompttemplate"), "PromptTemplate")
    template = document.child(template_key)
    texts = [text for key in template if (text := template.text(key))]
    return InferenceModel(
        name=document.text(name_key),
        has_template=any("{Content}" in text for text in texts),
        has_tools=any("{Tool}" in text for text in texts),
    )


def read_catalog(root: Path) -> Catalog:
    """The catalog snapshot of a cache, empty if there is none. Raises InvalidModelFolder if it cannot be read."""
    path = root / CATALOG_FILE
    if not exists(path):
        return Catalog()
    document = read_json_object(path, ProblemCode.CATALOG_INVALID)
    return Catalog({key: entry for fields in document.children("models") for key, entry in _entries(fields)})


def _entries(fields: Fields) -> tuple[tuple[str, CatalogEntry], ...]:
    """One entry under its ``id`` and under ``name:version``."""
    entry = CatalogEntry(fields.text("alias"), fields.text("publisher"), fields.text("license"), fields.text("task"))
    version = fields.raw("version")
    keys = (fields.text("id"), f"{fields.text('name')}:{NO_VERSION if version is None else version}")
    return tuple((key.lower(), entry) for key in keys if key)
