"""What the bodies of requests are made of: no unknown keys, no values of another type that happen to look right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator, WithJsonSchema

from daemon.durations import as_keep_alive
from daemon.terms import KeepAlive
from registry.errors import UnsupportedParameter

MAX_SCHEMA_DEPTH = 64


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def without_neutral(body: Any, neutral: Mapping[str, Sequence[Any]]) -> Any:
    """``body`` without nulls, and without those of the ``neutral`` parameters whose value asks for nothing.

    ``neutral`` has the parameters that nothing here can honour, with such values. Anything but an object stays as it
    is. Raises UnsupportedParameter, naming it, for a parameter that asks for something.
    """
    if not isinstance(body, dict):
        return body
    kept = {key: value for key, value in body.items() if value is not None}
    for name in neutral.keys() & kept.keys():
        if kept.pop(name) not in neutral[name]:
            raise UnsupportedParameter(
                f"The parameter {name!r} is not supported with this value. Leave it out.", param=name
            )
    return kept


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
