"""A grammar of nothing but tool calls, for requests that demand one: in Lark's notation, as llguidance reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from daemon.worker.tools.forms import Layout

_NAME = "{name}"
_OPTIONS = "x-guidance"


def calls_grammar(
    layout: Layout,
    schemas: Mapping[str, Mapping[str, Any]],
    style: Mapping[str, Any],
    *,
    is_parallel: bool,
    special: Mapping[str, int],
    answer: Mapping[str, Any] | None = None,
) -> str:
    """One call of one of these tools, or several if ``is_parallel`` and the layout can have them.

    Or else, where ``answer`` is given, JSON of that schema.

    ``schemas`` are the parameters by name, ``style`` how JSON is written (llguidance's options), ``special`` the marks
    that are special tokens, with their ids.
    """
    several = is_parallel and layout.separator is not None
    more = _joined(f"({_joined(_literal(layout.separator or '', special), 'call')})*") if several else ""
    lines = [
        f"start: calls{' | answer' if answer is not None else ''}",
        f"calls: {_joined(_literal(layout.begin, special), 'call', more, _literal(layout.end, special))}",
        f"call: {' | '.join(f'call_{index}' for index in range(len(schemas)))}",
    ]
    for index, (name, schema) in enumerate(schemas.items()):
        # In JSON a name is written as JSON text; of names that there are, that is the name itself.
        before = layout.before.replace(_NAME, json.dumps(name, ensure_ascii=False)[1:-1])
        parts = _joined(_literal(before, special), f"arguments_{index}", _literal(layout.after, special))
        lines.append(f"call_{index}: {parts}")
        lines.append(f"arguments_{index}: {_json({**_as_object(schema), _OPTIONS: dict(style)})}")
    if answer is not None:
        lines.append(f"answer: {_json({**answer, _OPTIONS: dict(style)})}")
    return "\n".join(lines) + "\n"


def _json(schema: Mapping[str, Any]) -> str:
    return f"%json {json.dumps(schema)}"


def _as_object(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments are an object, and of nothing but the parameters that the schema names, unless it says otherwise.

    A tool without a schema has no parameters, as in OpenAI's API.
    """
    closed = {"additionalProperties": False} if "properties" in schema or not schema else {}
    return {"type": "object", **closed, **schema}


def _literal(text: str, special: Mapping[str, int]) -> str:
    """``text`` in Lark's notation, its special tokens by id."""
    if not text:
        return ""
    marks = sorted(special, key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, marks))})", text) if marks else [text]
    return _joined(*(f"<[{special[part]}]>" if part in special else json.dumps(part) for part in parts if part))


def _joined(*parts: str) -> str:
    return " ".join(filter(None, parts))
