"""What the bodies of requests are made of: no unknown keys, no values of another type that happen to look right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from daemon import lenience
from daemon.durations import as_keep_alive
from daemon.terms import KeepAlive
from registry.errors import UnsupportedParameter

MAX_SCHEMA_DEPTH = 64


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def with_nulls(schema: dict[str, Any]) -> None:
    """Say in the schema of a body that whatever may be left out of it may be null."""
    for name, field in schema.get("properties", {}).items():
        kinds = field.get("anyOf", [])
        if name in schema.get("required", ()) or {"type": "null"} in kinds:
            continue
        said = {key: field.pop(key) for key in ("description", "title", "default") if key in field}
        schema["properties"][name] = {"anyOf": [*(kinds or [field]), {"type": "null"}], **said}


class RequestBody(Strict):
    """The whole body of a request for something, in an API that others made. A null says nothing, as there.

    ``refused``: the parameters that nothing here can honour, with the values that ask for nothing. ``hints``: those of
    them that may be left out where the settings allow it, as unknown ones may. ``hints_inside``: the same of hints that
    stand in another parameter, by both names.
    """

    model_config = ConfigDict(json_schema_extra=with_nulls)

    refused: ClassVar[Mapping[str, Sequence[Any]]] = {}
    hints: ClassVar[frozenset[str]] = frozenset()
    hints_inside: ClassVar[Mapping[tuple[str, str], Sequence[Any]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _what_can_be_honoured(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        kept = _without_hints_inside(without_neutral(body, cls.refused, cls.hints), cls.hints_inside)
        known = set(_names_of(cls))
        return {name: value for name, value in kept.items() if name in known or not lenience.leave_out(name)}


def without_neutral(
    body: Mapping[str, Any], neutral: Mapping[str, Sequence[Any]], hints: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """``body`` without nulls, and without those of the ``neutral`` parameters whose value asks for nothing.

    ``neutral`` has the parameters that nothing here can honour, with such values; for ``hints`` see ``RequestBody``.
    Raises UnsupportedParameter, naming it, for a parameter that asks for something.
    """
    kept = {key: value for key, value in body.items() if value is not None}
    for name in neutral.keys() & kept.keys():
        if kept.pop(name) not in neutral[name] and not (name in hints and lenience.leave_out(name)):
            raise _unsupported_value(name)
    return kept


def _without_hints_inside(body: dict[str, Any], hints: Mapping[tuple[str, str], Sequence[Any]]) -> dict[str, Any]:
    """``body`` without those hints, of which the values that ask for nothing are given. Raises UnsupportedParameter."""
    for (outer, inner), neutral in hints.items():
        within = body.get(outer)
        if not isinstance(within, Mapping) or within.get(inner) is None:
            continue
        name = f"{outer}.{inner}"
        if within[inner] not in neutral and not lenience.leave_out(name):
            raise _unsupported_value(name)
        body = {**body, outer: {key: value for key, value in within.items() if key != inner}}
    return body


def _unsupported_value(name: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"The parameter {name!r} is not supported with this value. Leave it out.", param=name)


def _names_of(body: type[BaseModel]) -> Iterator[str]:
    """What its fields are called in JSON."""
    for name, field in body.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            yield from (each for each in alias.choices if isinstance(each, str))
        else:
            yield alias if isinstance(alias, str) else name


def _depth(value: Any, limit: int) -> int:
    """How deeply ``value`` is nested, counted to just beyond ``limit``."""
    if limit < 0 or not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max((_depth(item, limit - 1) for item in inner), default=0)


def not_too_deep(value: dict[str, Any]) -> dict[str, Any]:
    """``value`` itself. Raises ValueError for one that is nested deeper than ``MAX_SCHEMA_DEPTH``."""
    if _depth(value, MAX_SCHEMA_DEPTH) > MAX_SCHEMA_DEPTH:
        raise ValueError(f"this is nested more than {MAX_SCHEMA_DEPTH} deep")
    return value


JsonSchema = Annotated[dict[str, Any], AfterValidator(not_too_deep)]

# Seconds, or a text such as "5m"; below 0 is for ever.
KeepAliveField = Annotated[
    KeepAlive,
    PlainValidator(lambda value: KeepAlive(as_keep_alive(value))),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]}),
]
