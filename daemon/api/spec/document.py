"""The OpenAPI document: what FastAPI knows of the routes, and what stands in the parts beside this module.

Invariant: every route has its part (a test holds this); an answer that is not described is not promised.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from daemon.api.envelopes import anthropic_envelope, envelope_at, ollama_envelope
from daemon.api.headers import DEADLINE_HEADER, IGNORED_HEADER, POLICY_HEADER, TASK_HEADER
from daemon.api.spec import anthropic, ollama, openai, others, ours
from daemon.api.spec.described import ANY, EVENTS, LINES, METRICS, Described
from daemon.api.spec.schemas import ERRORS, EXAMPLES, NUMBER, TEXT, Schema, among, record, ref
from registry.model import Task
from selector.policy import Policy

PARTS = (openai.PART, anthropic.PART, ollama.PART, others.PART, ours.PART)
ROUTES = {name: described for part in PARTS for name, described in part.routes.items()}
DESCRIPTION = (
    "Finds the ONNX Runtime GenAI models of this machine, picks the best one for a task, and answers over OpenAI's, "
    "Ollama's, Anthropic's and Foundry Local's APIs. Where API keys exist, every request shows one."
)
_JSON = "application/json"
# FastAPI's words for what it would answer itself; here every error is in the form of its API.
_NOT_OURS = ("HTTPValidationError", "ValidationError")

_WISHES = [
    {"name": TASK_HEADER, "schema": among(*Task), "description": "what the answer of `auto` is for"},
    {"name": POLICY_HEADER, "schema": among(*Policy), "description": "what waiting weighs against quality"},
    {
        "name": DEADLINE_HEADER,
        "schema": {**NUMBER, "exclusiveMinimum": 0, "maximum": 1_000_000},
        "description": "seconds until the whole answer has to be there",
    },
]
# Of a stream: an event as its fields, or a line.
_ONE_OF: dict[str, Schema] = {
    EVENTS: record({}, optional={"event": TEXT, "data": TEXT, "id": TEXT}),
    LINES: {},
    METRICS: TEXT,
}
_SAID: dict[str, str] = {
    "x-slmreg-model": "the model that answers",
    TASK_HEADER: "what the request was taken for, where slmreg chose the model",
    "x-slmreg-selection": "where that choice is kept: /slmreg/selections/{id}",
    IGNORED_HEADER: "parameters that were left out (the setting ignore_unsupported)",
}


def document(app: FastAPI) -> dict[str, Any]:
    """Takes some tenths of a second."""
    made = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            _describe(operation, path, ROUTES.get(f"{method.upper()} {path}"))
    made["components"] = _components(made.get("components", {}).get("schemas", {}))
    made["security"] = [{}, {"bearer": []}, {"key": []}]
    return made


def _components(of_bodies: Mapping[str, Schema]) -> dict[str, Any]:
    answers = {name: schema for part in PARTS for name, schema in part.schemas.items()}
    bodies = {name: schema for name, schema in of_bodies.items() if name not in _NOT_OURS}
    keys = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    return {"schemas": {**bodies, **answers, **ERRORS}, "securitySchemes": keys}


def _describe(operation: dict[str, Any], path: str, said: Described | None) -> None:
    operation["responses"].pop("422", None)
    if said is None:
        return
    operation["responses"] = {"200": _answer(said)} | {
        str(status): _error(path, status) for status in sorted({*ANY, *said.errors})
    }
    if said.asks is not None:
        operation["requestBody"]["content"][_JSON]["example"] = said.asks
    if said.form is not None:
        form = {"type": "object", "properties": dict(said.form), "required": ["file"]}
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    if said.takes_wishes:
        wishes = [{**each, "in": "header", "required": False} for each in _WISHES]
        operation["parameters"] = [*operation.get("parameters", ()), *wishes]


def _answer(said: Described) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if said.answer is not None:
        content[_JSON] = {"schema": said.answer}
        if said.example is not None:
            content[_JSON]["example"] = said.example
    if said.form is not None:
        content["text/plain"] = {"schema": TEXT}
    if said.stream is not None:
        content[said.stream] = {"schema": {**_ONE_OF[said.stream], "description": said.says}}
    answer: dict[str, Any] = {"description": "Done", "content": content} if content else {"description": "Done"}
    if said.takes_wishes:
        answer["headers"] = {name: {"description": why, "schema": TEXT} for name, why in _SAID.items()}
    return answer


def _error(path: str, status: int) -> dict[str, Any]:
    names = {anthropic_envelope: "AnthropicError", ollama_envelope: "OllamaError"}
    name = names.get(envelope_at(path), "OpenAIError")
    content = (
        {"schema": ref(name), "example": EXAMPLES[name]} if status == HTTPStatus.NOT_FOUND else {"schema": ref(name)}
    )
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase, "content": {_JSON: content}}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        described["headers"] = {"Retry-After": {"description": "seconds", "schema": TEXT}}
    return described
