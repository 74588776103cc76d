"""Between the columns of database rows and the frozen values of ``registry.model``.

What is read from a folder stands in one JSON text by the names of Model's fields, those at their default left out: a
new field of Model needs no migration, and a value that a newer slmreg wrote reads as the default.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from registry.index.stored import StoredModel, Verdict
from registry.model import (
    ApiKey,
    FolderProblem,
    Hint,
    KeyScope,
    Markers,
    Model,
    Problem,
    RootChoice,
    Source,
    Status,
    Verification,
)

_T = TypeVar("_T")
_Decode = Callable[[Any], Any]

# Columns of their own: identity and state.
_COLUMNS = frozenset({"name", "version", "alias", "path", "source", "status", "fingerprint", "content"})
# Known to the registry alone, and never part of what a folder declares.
_REGISTRY_ONLY = frozenset({"locations", "revision", "missing_since_s", "verified_s"})
_FACTS = {
    field.name: field.default if field.default is not dataclasses.MISSING else {}
    for field in dataclasses.fields(Model)
    if field.name not in _COLUMNS | _REGISTRY_ONLY
}
_SCOPES = frozenset(KeyScope)


class Sharing:
    """One object for each value that many models have: thousands of them say ``qwen2`` and ``MIT``."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, Any], Any] = {}

    def same(self, field: str, value: _T) -> _T:
        """``value``, or the equal one that this field of another model has."""
        if isinstance(value, dict):
            key: Any = tuple(value.items())
        elif isinstance(value, (str, tuple, Markers)):
            key = value
        else:
            return value
        shared: _T = self._values.setdefault((field, key), value)
        return shared

    def model(self, model: Model) -> Model:
        """An equal model that shares what it can."""
        shared = {name: self.same(name, getattr(model, name)) for name in _SHARED}
        return dataclasses.replace(model, **shared, alias=self.alias(model.name, model.alias))

    def alias(self, name: str, alias: str) -> str:
        return name if alias == name else self.same("alias", alias)


_SHARED = ("version", *(name for name in _FACTS if name != "problems"))


def model_columns(row: StoredModel) -> dict[str, Any]:
    declared = row.declared
    return {
        "key": row.key,
        "model_id": row.model.id,
        "declared_name": declared.name,
        "name": row.name,
        "duplicate_of": str(row.duplicate_of) if row.duplicate_of else None,
        "version": declared.version,
        "alias": _storable(declared.alias),
        "path": str(declared.path),
        "source": str(declared.source),
        "status": str(declared.status),
        "fingerprint": declared.fingerprint,
        "content": declared.content,
        "revision": row.revision,
        "first_seen_s": row.first_seen_s,
        "missing_since_s": row.missing_since_s,
        "facts": facts_json(declared),
    }


def location_columns(key: int, other: Model) -> dict[str, Any]:
    return {
        "model_key": key,
        "path": str(other.path),
        "name": other.name,
        "version": other.version,
        "alias": _storable(other.alias),
        "source": str(other.source),
        "status": str(other.status),
        "fingerprint": other.fingerprint,
        "content": other.content,
        "facts": facts_json(other),
    }


def stored_model(
    row: Mapping[str, Any], others: Iterable[Model], verdict: Verdict | None, sharing: Sharing
) -> StoredModel:
    duplicate_of = row["duplicate_of"]
    return StoredModel(
        key=row["key"],
        declared=declared_model(row, row["declared_name"], sharing),
        name=row["declared_name"] if row["name"] == row["declared_name"] else row["name"],
        first_seen_s=row["first_seen_s"],
        duplicate_of=Path(duplicate_of) if duplicate_of else None,
        others=tuple(others),
        revision=row["revision"],
        missing_since_s=row["missing_since_s"],
        verdict=verdict,
    )


def declared_model(row: Mapping[str, Any], name: str, sharing: Sharing) -> Model:
    """From the columns that ``models`` and ``locations`` have in common."""
    return Model(
        name=name,
        version=sharing.same("version", row["version"]),
        alias=sharing.alias(name, row["alias"]),
        path=Path(row["path"]),
        source=Source(row["source"]),
        status=Status(row["status"]),
        fingerprint=row["fingerprint"],
        content=row["content"],
        **_facts(json.loads(row["facts"]), sharing),
    )


def facts_json(model: Model) -> str:
    facts = {}
    for name, default in _FACTS.items():
        value = getattr(model, name)
        if value != default:
            facts[name] = dataclasses.astuple(value) if isinstance(value, Markers) else value
    if "problems" in facts:
        facts["problems"] = [dataclasses.astuple(problem) for problem in model.problems]
    if "evidence" in facts:
        facts["evidence"] = dict(model.evidence)
    return json_text(facts)


def _facts(facts: Mapping[str, Any], sharing: Sharing) -> dict[str, Any]:
    fields = {}
    for name, value in facts.items():
        if name not in _DECODERS:
            continue  # of a newer slmreg
        try:
            fields[name] = sharing.same(name, _DECODERS[name](value))
        except (ValueError, TypeError):
            continue  # a value that only a newer slmreg knows
    return fields


def _decoder(kind: Any) -> _Decode:
    """From what JSON makes of a value of this type back to the value."""
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (each for each in get_args(kind) if each is not types.NoneType)
    if get_origin(kind) is tuple:
        item = _decoder(get_args(kind)[0])
        return lambda values: tuple(item(value) for value in values)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return lambda values: kind(*values)
    return lambda value: value


_HINTS = get_type_hints(Model)
_DECODERS = {name: _decoder(_HINTS[name]) for name in _FACTS}


def problem_columns(problem: FolderProblem) -> dict[str, Any]:
    return {
        "path": str(problem.path),
        "code": problem.code,
        "message": _storable(problem.message),
        "file": None if problem.file is None else _storable(problem.file),
        "status": str(problem.status),
    }


def folder_problem(row: Mapping[str, Any]) -> FolderProblem:
    return FolderProblem(Path(row["path"]), row["code"], row["message"], row["file"], Status(row["status"]))


def root_choice(row: Mapping[str, Any]) -> RootChoice:
    return RootChoice(Path(row["path"]), bool(row["is_added"]), bool(row["is_enabled"]), row["settle_s"])


def hint_columns(position: int, hint: Hint) -> dict[str, Any]:
    return {"position": position, "entry": json_text(dataclasses.asdict(hint))}


def hint(row: Mapping[str, Any]) -> Hint:
    return Hint(**json.loads(row["entry"]))


def key_columns(key: ApiKey) -> dict[str, Any]:
    return {**dataclasses.asdict(key), "scope": str(key.scope)}


def api_key(row: Mapping[str, Any]) -> ApiKey:
    scope = KeyScope(row["scope"]) if row["scope"] in _SCOPES else None
    return ApiKey(str(row["name"]), scope, str(row["sha256"]), float(row["created_s"]))


def verification_columns(key: int, verification: Verification) -> dict[str, Any]:
    return {
        "model_key": key,
        "fingerprint": verification.fingerprint,
        "verified_s": verification.verified_s,
        "digests": json_text(dict(verification.digests)),
        "problems": json_text([dataclasses.astuple(problem) for problem in verification.problems]),
    }


def verdict(row: Mapping[str, Any]) -> Verdict:
    problems = tuple(Problem(*each) for each in json.loads(row["problems"]))
    return Verdict(row["fingerprint"], row["verified_s"], problems)


def verification(row: Mapping[str, Any]) -> Verification:
    known = verdict(row)
    return Verification(known.fingerprint, known.verified_s, json.loads(row["digests"]), known.problems)


def json_text(value: Any) -> str:
    """In ASCII, so that halves of surrogate pairs, which JSON files of strangers may have, can be stored."""
    return json.dumps(value, separators=(",", ":"))


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
