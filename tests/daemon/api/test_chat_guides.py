from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from daemon.pool.protocol import Guide
from registry.errors import InvalidRequest
from tests.daemon.api.chats import question

SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}


def a_format(**json_schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "city", **json_schema}}


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth > 1 else {}


@pytest.mark.parametrize(
    ("fields", "guide"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Guide(kind="json_object")),
        (
            {"response_format": a_format(schema=SCHEMA, strict=True, description="a city")},
            Guide(kind="json_schema", text=json.dumps(SCHEMA)),
        ),
        ({"response_format": a_format()}, Guide(kind="json_schema", text="{}")),
        ({"guided_json": SCHEMA}, Guide(kind="json_schema", text=json.dumps(SCHEMA))),
        ({"guided_json": json.dumps(SCHEMA)}, Guide(kind="json_schema", text=json.dumps(SCHEMA))),
        ({"guided_regex": "[a-z]+"}, Guide(kind="regex", text="[a-z]+")),
        ({"guided_grammar": "start: /a/"}, Guide(kind="lark", text="start: /a/")),
        ({"response_format": {"type": "text"}, "guided_regex": "a"}, Guide(kind="regex", text="a")),
    ],
)
def test_what_an_answer_has_to_look_like_reaches_the_worker(fields: dict[str, Any], guide: Guide | None) -> None:
    assert question(**fields).guide == guide


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_object"}, "guided_json": SCHEMA}, "guided_json"),
        ({"guided_json": SCHEMA, "guided_regex": "a"}, "guided_regex"),
        ({"guided_regex": "a", "guided_grammar": "start: /a/"}, "guided_grammar"),
    ],
)
def test_two_guides_at_once_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be had beside") as caught:
        question(**fields)
    assert caught.value.param == param


def test_a_schema_that_is_too_deep_is_refused() -> None:
    for fields in ({"response_format": a_format(schema=nested(65))}, {"guided_json": nested(65)}):
        with pytest.raises(ValidationError, match="nested more than 64 deep"):
            question(**fields)
    assert question(guided_json=nested(64)).guide is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": "json"},
        {"response_format": {"type": "xml"}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "text", "json_schema": {"name": "x"}}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        {"response_format": a_format(name="not a name")},
        {"response_format": a_format(name="x" * 65)},
        {"response_format": a_format(schema=[])},
        {"response_format": a_format(more=1)},
        {"guided_json": "{"},
        {"guided_json": "[" * 100_000},
        {"guided_json": "5"},
        {"guided_json": 5},
        {"guided_regex": ""},
        {"guided_grammar": ""},
    ],
)
def test_what_is_no_guide_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        question(**fields)
    assert {error["loc"][0] for error in caught.value.errors()} == set(fields)
