"""What ``ignore_unsupported`` lets pass, in every API, and what it does not."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from daemon import lenience
from daemon.lenience import MOST_NAMED
from daemon.wants import Wants, thinking_for
from registry.errors import UnsupportedParameter
from tests.daemon.api.guarded import HOST, JSON, call, guarded, refused
from tests.fakes import a_model

MESSAGES = [{"role": "user", "content": "hi"}]
# No model is there, so that what is taken comes to nothing.
CHAT: dict[str, Any] = {"model": "none", "messages": MESSAGES}
OLLAMA: dict[str, Any] = {"model": "none", "prompt": "hi"}

HINTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT, {"store": True, "verbosity": "low", "prediction": {"type": "content"}}),
    ("/v1/completions", {"model": "none", "prompt": "hi"}, {}),
    ("/v1/responses", {"model": "none", "input": "hi"}, {"truncation": "auto", "max_tool_calls": 3}),
    ("/v1/embeddings", {"model": "none", "input": "hi"}, {}),
    ("/v1/messages", {**CHAT, "max_tokens": 5}, {"speed": "fast", "diagnostics": {"x": 1}}),
    ("/v1/messages/count_tokens", CHAT, {"speed": "fast"}),
    ("/api/chat", CHAT, {"shift": True, "truncate": True}),
    ("/api/generate", OLLAMA, {"truncate": True}),
    ("/api/embed", {"model": "none", "input": "hi"}, {}),
    ("/api/embeddings", OLLAMA, {}),
    ("/api/show", {"model": "none"}, {}),
    ("/reasoning", {"model": "none", "prompt": "hi"}, {}),
]
MEANT: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/chat/completions", {**CHAT, "moderation": {"a": 1}}, "moderation"),
    ("/v1/chat/completions", {**CHAT, "modalities": ["audio"]}, "modalities"),
    ("/v1/chat/completions", {**CHAT, "functions": [{"name": "f"}]}, "functions"),
    ("/v1/chat/completions", {**CHAT, "web_search_options": {"a": 1}}, "web_search_options"),
    ("/v1/chat/completions", {**CHAT, "temperature": 9}, "temperature"),
    ("/v1/chat/completions", {**CHAT, "tools": [{"type": "function", "function": {"name": "f", "x": 1}}]}, "tools.0"),
    ("/v1/completions", {"model": "none", "prompt": "hi", "suffix": "x"}, "suffix"),
    ("/v1/responses", {"model": "none", "input": "hi", "conversation": "c"}, "conversation"),
    ("/v1/responses", {"model": "none", "input": "hi", "background": True}, "background"),
    ("/v1/responses", {"model": "none", "input": "hi", "tools": [{"type": "web_search"}]}, "tools"),
    ("/v1/messages", {**CHAT, "max_tokens": 5, "mcp_servers": [{"x": 1}]}, "mcp_servers"),
    ("/v1/messages", {**CHAT, "max_tokens": 5, "inference_geo": "eu"}, "inference_geo"),
    ("/api/generate", {**OLLAMA, "context": [1]}, "context"),
    ("/api/generate", {**OLLAMA, "template": "x"}, "template"),
    ("/api/create", {"model": "mine", "from": "none", "colour": "red"}, "colour"),
    ("/slmreg/select", {"task": "chat", "colour": "red"}, "colour"),
]


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    with guarded(tmp_path_factory.mktemp("lenient"), ignore_unsupported=True) as app:
        yield app


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    with guarded(tmp_path_factory.mktemp("strict")) as app:
        yield app


def post(app: FastAPI, path: str, body: dict[str, Any]) -> httpx.Response:
    return call(app, "POST", path, JSON, json.dumps(body))


def ignored(response: httpx.Response) -> set[str]:
    return set(filter(None, response.headers.get("x-slmreg-ignored", "").split(", ")))


@pytest.mark.parametrize(("path", "body", "hints"), HINTS, ids=lambda value: value if isinstance(value, str) else "")
def test_hints_and_unknown_parameters_are_left_out_and_named(
    lenient: FastAPI, strict: FastAPI, path: str, body: dict[str, Any], hints: dict[str, Any]
) -> None:
    for given in ({"colour": "red"}, *({name: value} for name, value in hints.items())):
        (name,) = given
        status, _code = refused(post(strict, path, {**body, **given}))
        assert (status, ignored(post(strict, path, {**body, **given}))) == (400, set()), name
    asked = post(lenient, path, {**body, **hints, "colour": "red"})
    assert refused(asked)[0] == 404
    assert ignored(asked) == {"colour", *hints}
    assert ignored(post(lenient, path, body)) == set()


@pytest.mark.parametrize(
    ("path", "outer", "inner", "value"),
    [
        ("/v1/responses", "text", "verbosity", "low"),
        ("/v1/responses", "reasoning", "summary", "detailed"),
        ("/v1/messages", "output_config", "effort", "medium"),
        ("/v1/messages", "thinking", "display", "omitted"),
    ],
)
def test_a_hint_inside_of_another_parameter_is_left_out_by_both_names(
    lenient: FastAPI, strict: FastAPI, path: str, outer: str, inner: str, value: str
) -> None:
    body = {**CHAT, "max_tokens": 5} if path == "/v1/messages" else {"model": "none", "input": "hi"}
    within = {inner: value, **({"type": "adaptive"} if outer == "thinking" else {})}
    refusal = post(strict, path, {**body, outer: within})
    assert (refusal.status_code, f"{outer}.{inner}" in refusal.text) == (400, True)
    asked = post(lenient, path, {**body, outer: within})
    assert (refused(asked)[0], ignored(asked)) == (404, {f"{outer}.{inner}"})
    for nothing in ({outer: {**within, inner: None}}, {outer: {**within, "colour": 1}}):
        status = post(lenient, path, {**body, **nothing}).status_code
        assert status == (404 if within.keys() == nothing[outer].keys() else 400)


def test_what_is_to_be_encrypted_is_not_and_said_not_to_be(lenient: FastAPI, strict: FastAPI) -> None:
    body = {"model": "none", "input": "hi", "include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}
    assert post(strict, "/v1/responses", body).status_code == 400
    asked = post(lenient, "/v1/responses", body)
    assert (refused(asked)[0], ignored(asked)) == (404, {"include.reasoning.encrypted_content"})
    other = post(lenient, "/v1/responses", {**body, "include": ["file_search_call.results"]})
    assert other.status_code == 400


def test_variables_of_chat_templates_but_for_the_shared_one_are_a_hint(strict: FastAPI, lenient: FastAPI) -> None:
    body = {**CHAT, "chat_template_kwargs": {"enable_thinking": False, "documents": [1]}}
    named = post(strict, "/v1/chat/completions", body)
    assert (named.status_code, named.json()["error"]["param"]) == (400, "chat_template_kwargs.documents")
    asked = post(lenient, "/v1/chat/completions", body)
    assert (refused(asked)[0], ignored(asked)) == (404, {"chat_template_kwargs.documents"})
    wrong = {"enable_thinking": "yes"}
    assert post(lenient, "/v1/chat/completions", {**CHAT, "chat_template_kwargs": wrong}).status_code == 400


@pytest.mark.parametrize(("path", "body", "param"), MEANT, ids=lambda value: value if isinstance(value, str) else "")
def test_what_says_what_is_wanted_is_refused_all_the_same(
    lenient: FastAPI, path: str, body: dict[str, Any], param: str
) -> None:
    response = post(lenient, path, body)
    assert response.status_code == 400
    assert param in response.text


def test_options_of_ollama_that_cannot_be_honoured_are_left_out_by_their_names(lenient: FastAPI) -> None:
    options = {"mirostat": 1, "tfs_z": 0.5, "colour": "red", "num_gpu": 3, "typical_p": 1, "temperature": 0.5}
    for path, body in (("/api/chat", CHAT), ("/api/generate", OLLAMA)):
        asked = post(lenient, path, {**body, "options": options})
        assert ignored(asked) == {"options.mirostat", "options.tfs_z", "options.colour"}
        assert refused(asked)[0] == 404
    wrong = post(lenient, "/api/chat", {**CHAT, "options": {"temperature": 9}})
    assert refused(wrong)[0] == 400


@pytest.mark.parametrize(("path", "status"), [("transcriptions", 404), ("translations", 404)])
def test_forms_are_read_the_same_way(lenient: FastAPI, path: str, status: int) -> None:
    fields = {"model": "none", "colour": "red", "chunking_strategy": "vad"}
    sent = httpx.Request("POST", "http://x", data=fields, files={"file": ("a.wav", b"RIFF")})
    headers = {**HOST, "content-type": sent.headers["content-type"]}
    asked = call(lenient, "POST", f"/v1/audio/{path}", headers, sent.read())
    assert (asked.status_code, ignored(asked)) == (status, {"colour", "chunking_strategy"})
    sent = httpx.Request("POST", "http://x", data={"include": "logprobs"}, files={"file": ("a.wav", b"RIFF")})
    headers = {**HOST, "content-type": sent.headers["content-type"]}
    assert call(lenient, "POST", f"/v1/audio/{path}", headers, sent.read()).status_code == 400


def test_names_that_a_client_made_up_break_neither_the_header_nor_the_log(
    lenient: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    strange = {"a\r\nSet-Cookie: b": 1, "ü" * 500: 1, **{f"p{number}": 1 for number in range(100)}}
    with caplog.at_level(logging.INFO, "slmreg.api"):
        asked = post(lenient, "/v1/chat/completions", {**CHAT, **strange})
    assert asked.status_code == 404
    assert len(ignored(asked)) == MOST_NAMED
    assert "set-cookie" not in asked.headers
    (line,) = [record.getMessage() for record in caplog.records if "api.ignored" in record.getMessage()]
    assert "\n" not in line


def test_what_one_request_left_out_is_not_said_of_the_next(lenient: FastAPI) -> None:
    assert ignored(post(lenient, "/v1/chat/completions", {**CHAT, "colour": 1})) == {"colour"}
    assert ignored(post(lenient, "/v1/chat/completions", CHAT)) == set()
    assert ignored(call(lenient, "GET", "/v1/models", HOST)) == set()


def test_a_named_model_that_cannot_be_told_to_reason_answers_as_it_does_anyway() -> None:
    def asked(*, is_allowed: bool) -> list[str]:
        names = lenience.begin(is_allowed=is_allowed)
        assert thinking_for(a_model(), Wants(thinking=True)) is None
        return names

    assert copy_context().run(asked, is_allowed=True) == ["reasoning_effort"]
    with pytest.raises(UnsupportedParameter, match="reasoning_effort"):
        copy_context().run(asked, is_allowed=False)
