"""Foundry Local's own files: ``inference_model.json`` in a model's folder, and ``foundry.modelinfo.json`` in a cache.

The latter is a snapshot of the catalog: facts about models, most of which are not on this machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from registry.errors import InvalidModelFolder
from registry.files.documents import Fields, read_json_object
from registry.files.listing import exists
from registry.layouts.naming import NO_VERSION, clean_name
from registry.layouts.providers import execution_provider
from registry.model import Device, ExecutionProvider, Markers
from registry.problems import ProblemCode

INFERENCE_MODEL_FILE = "inference_model.json"
CATALOG_FILE = "foundry.modelinfo.json"
# Microsoft's own catalog has some 200 entries.
_MAX_ENTRIES = 100_000
# Of PromptTemplate: what a user says, with and without the beginning of the answer.
_USER_TURNS = ("prompt", "user")
_DEVICES = {"cpu": Device.CPU, "gpu": Device.GPU, "npu": Device.NPU}

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class InferenceModel:
    """What a folder declares: its id, and whether it brings a prompt template, with a place for tools."""

    name: str | None
    has_template: bool
    has_tools: bool


@dataclass(frozen=True)
class CatalogEntry:
    """What Foundry's catalog knows about one model beyond its files; None where it says nothing."""

    alias: str | None = None
    publisher: str | None = None
    license: str | None = None
    task: str | None = None
    device: Device | None = None
    execution_provider: ExecutionProvider | None = None
    supports_tools: bool | None = None
    supports_reasoning: bool | None = None
    tool_markers: Markers | None = None
    reasoning_markers: Markers | None = None
    max_output_tokens: int | None = None

    @cached_property
    def digest(self) -> str:
        """Changes when the entry does."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Entries by id and by name alone, in lower case. ``fault`` says what in the catalog was not understood, if any.

    ``default`` is the entry of every model that has none of its own.
    """

    entries: Mapping[str, CatalogEntry] = field(default_factory=dict)
    default: CatalogEntry | None = None
    fault: str | None = None

    def find(self, name: str, version: str) -> CatalogEntry | None:
        """A catalog names the newest version only: what it says holds for an older one that is still here."""
        if not self.entries:
            return self.default
        plain = name.lower()
        return self.entries.get(f"{plain}:{version}") or self.entries.get(plain) or self.default


def read_inference_model(folder: Path) -> InferenceModel:
    """Raises InvalidModelFolder. ``Name`` counts in any case, which Foundry itself passes over."""
    document = read_json_object(folder / INFERENCE_MODEL_FILE, ProblemCode.INFERENCE_MODEL_INVALID)
    name_key = next((key for key in document if key.lower() == "name"), "Name")
    template_key = next((key for key in document if key.lower() == "prompttemplate"), "PromptTemplate")
    template = document.child(template_key)
    texts = [text for key in template if (text := template.text(key))]
    return InferenceModel(
        name=document.text(name_key),
        has_template=any("{Content}" in (template.text(key) or "") for key in _USER_TURNS),
        has_tools=any("{Tool}" in text for text in texts),
    )


def read_catalog(cache: Path) -> Catalog:
    """The catalog snapshot of a cache, empty if there is none. Raises InvalidModelFolder if nothing of it can be read.

    A field of the wrong type costs that field, an entry that is none that entry.
    """
    faults: list[str] = []
    entries: dict[str, CatalogEntry] = {}
    for fields in read_models(cache / CATALOG_FILE, faults):
        entry = read_entry(fields)
        for key in _keys(fields):
            entries.setdefault(key.lower(), entry)
    return Catalog(entries, fault=_summary(faults))


class LenientFields:
    """A JSON object in which a field of the wrong type counts as absent, and is added to ``faults``."""

    def __init__(self, fields: Fields, faults: list[str]) -> None:
        self._fields = fields
        self._faults = faults

    def text(self, key: str) -> str | None:
        """None also for an empty one."""
        return self._read(self._fields.text, key) or None

    def flag(self, key: str) -> bool | None:
        return self._read(self._fields.flag, key) if key in self._fields else None

    def count(self, key: str) -> int | None:
        return self._read(self._fields.count, key)

    def child(self, key: str) -> LenientFields | None:
        """The object under ``key``, None if there is none or an empty one."""
        child = self._read(self._fields.child, key)
        return LenientFields(child, self._faults) if child else None

    def raw(self, key: str) -> object:
        return self._fields.raw(key)

    def _read(self, read: Callable[[str], _Value], key: str) -> _Value | None:
        try:
            return read(key)
        except InvalidModelFolder as error:
            self._faults.append(error.message)
            return None


def read_models(path: Path, faults: list[str]) -> Iterator[LenientFields]:
    """The objects under ``models`` in one of Foundry's files, none if it is not there. Raises InvalidModelFolder."""
    if not exists(path):
        return
    document = read_json_object(path, ProblemCode.CATALOG_INVALID)
    models = document.raw("models")
    if not isinstance(models, list):
        raise document.invalid("models", "a list of objects")
    for index, values in enumerate(models[:_MAX_ENTRIES]):
        prefix = f"models[{index}]"
        if isinstance(values, dict):
            fields = Fields(values, file=path.name, code=ProblemCode.CATALOG_INVALID, prefix=f"{prefix}.")
            yield LenientFields(fields, faults)
        else:
            faults.append(f"{prefix} in {path.name} must be an object.")


def read_entry(fields: LenientFields) -> CatalogEntry:
    """Keys as Foundry's SDK 2.2 writes them; those that it does not know are passed over."""
    runtime = fields.child("runtime")
    alias = fields.text("alias")
    return CatalogEntry(
        alias=clean_name(alias) if alias else None,
        publisher=fields.text("publisher"),
        license=fields.text("license"),
        task=fields.text("task"),
        device=_DEVICES.get((runtime.text("deviceType") or "").lower()) if runtime else None,
        execution_provider=_provider(runtime.text("executionProvider")) if runtime else None,
        supports_tools=fields.flag("supportsToolCalling"),
        supports_reasoning=fields.flag("supportsReasoning"),
        tool_markers=_markers(fields.text("toolCallStart"), fields.text("toolCallEnd")),
        reasoning_markers=_markers(fields.text("reasoningStart"), fields.text("reasoningEnd")),
        max_output_tokens=fields.count("maxOutputTokens") or None,
    )


def _keys(fields: LenientFields) -> Iterator[str]:
    """An entry's ``id`` and name. Catalogs of the command line have the version in the name, later ones beside it."""
    model_id, name, version = fields.text("id"), fields.text("name"), fields.raw("version")
    if model_id:
        yield from (model_id, model_id.rpartition(":")[0] or model_id)
    if name:
        yield from (name, f"{name}:{NO_VERSION if version is None else version}", name.rpartition(":")[0] or name)


def _provider(name: str | None) -> ExecutionProvider | None:
    provider = execution_provider(name) if name else None
    return None if provider is ExecutionProvider.UNKNOWN else provider


def _markers(start: str | None, end: str | None) -> Markers | None:
    return Markers(start, end) if start and end else None


def _summary(faults: list[str]) -> str | None:
    more = f" So are {len(faults) - 1} more." if len(faults) > 1 else ""
    return f"{faults[0]}{more} Everything else in it is used." if faults else None
