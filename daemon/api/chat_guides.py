"""What an answer has to look like: OpenAI's ``response_format``, and vLLM's ``guided_*`` beside it."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from daemon.api.fields import JsonSchema, Strict, not_too_deep
from daemon.pool.protocol import Guide
from registry.errors import InvalidRequest


class NamedSchema(Strict):
    """``strict`` changes nothing: an answer always keeps to the schema."""

    name: str = Field(pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    content: JsonSchema = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("'json_schema' belongs to the type json_schema, and to no other")
        return self

    def as_guide(self) -> Guide | None:
        """None for text."""
        if self.json_schema is not None:
            return Guide(kind=self.type, text=json.dumps(self.json_schema.content))
        return Guide(kind=self.type) if self.type == "json_object" else None


class GuideFields(Strict):
    """At most one of them; ``guided_grammar`` is in Lark's syntax, ``guided_json`` a schema or the text of one."""

    response_format: ResponseFormat | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = Field(None, min_length=1)
    guided_grammar: str | None = Field(None, min_length=1)

    @field_validator("guided_json")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any] | str | None) -> dict[str, Any] | None:
        if isinstance(schema, str):
            try:
                schema = json.loads(schema)
            except (ValueError, RecursionError) as error:
                raise ValueError("this is not the text of a JSON schema") from error
        if schema is not None and not isinstance(schema, dict):
            raise ValueError("a JSON schema is an object")
        return not_too_deep(schema) if schema is not None else None

    @property
    def guide_name(self) -> str | None:
        """The field that says what the answer has to look like."""
        return next(iter(self._guides()), None)

    def as_guide(self) -> Guide | None:
        """How much may be asked is for the worker to say, which knows what it costs.

        Raises InvalidRequest where several fields ask for something.
        """
        guides = self._guides()
        if len(guides) > 1:
            first, second, *_ = guides
            raise InvalidRequest(f"'{second}' cannot be had beside '{first}'. Leave one out.", param=second)
        return next(iter(guides.values()), None)

    def _guides(self) -> dict[str, Guide]:
        """What each field asks for."""
        schema, regex, grammar = self.guided_json, self.guided_regex, self.guided_grammar
        guides = {
            "response_format": self.response_format.as_guide() if self.response_format is not None else None,
            "guided_json": Guide(kind="json_schema", text=json.dumps(schema)) if schema is not None else None,
            "guided_regex": Guide(kind="regex", text=regex) if regex is not None else None,
            "guided_grammar": Guide(kind="lark", text=grammar) if grammar is not None else None,
        }
        return {name: guide for name, guide in guides.items() if guide is not None}
