"""JSON schemas in few words, and the envelopes of errors. More keys may always stand beside those of a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

ANYTHING: Schema = {}
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
TRUTH: Schema = {"type": "boolean"}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def table(schema: Schema) -> Schema:
    """An object whose keys are not known beforehand."""
    return {"type": "object", "additionalProperties": schema}


def among(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def record(fields: Mapping[str, Schema], *, optional: Mapping[str, Schema] | None = None, says: str = "") -> Schema:
    """An object that always has ``fields``, and perhaps those that are ``optional``."""
    schema: Schema = {
        "type": "object",
        "properties": {**fields, **(optional or {})},
        "required": list(fields),
    }
    return {**schema, "description": says} if says else schema


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def page_of(name: str) -> Schema:
    return record({"data": many(ref(name))})


ERRORS: dict[str, Schema] = {
    "OpenAIError": record(
        {
            "error": record(
                {"message": TEXT, "type": TEXT, "param": maybe(TEXT), "code": maybe(TEXT)},
                optional={"request_id": TEXT},
            )
        },
        says="`code` is stable, and `param` names what is wrong with the request.",
    ),
    "AnthropicError": record(
        {
            "type": among("error"),
            "error": record({"type": TEXT, "message": TEXT}, optional={"details": record({"error_code": TEXT})}),
        },
        optional={"request_id": TEXT},
        says="As Anthropic has it; `details.error_code` is the stable code that the other APIs have as `code`.",
    ),
    "OllamaError": record({"error": TEXT, "code": maybe(TEXT)}, says="As Ollama has it, with the stable `code`."),
}
EXAMPLES: dict[str, Any] = {
    "OpenAIError": {
        "error": {
            "message": "There is no model 'phi'. Near it: phi-4-mini:5.",
            "type": "not_found_error",
            "param": "model",
            "code": "model_not_found",
            "request_id": "5f0c2f7d9d3a4a62",
        }
    },
    "AnthropicError": {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": "There is no model 'phi'. Near it: phi-4-mini:5.",
            "details": {"error_code": "model_not_found"},
        },
        "request_id": "5f0c2f7d9d3a4a62",
    },
    "OllamaError": {"error": "There is no model 'phi'. Near it: phi-4-mini:5.", "code": "model_not_found"},
}
