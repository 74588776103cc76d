"""Ollama's messages in OpenAI's words."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import ValidationError

from daemon.api.ollama.messages import OllamaMessage, openai_messages
from registry.errors import InvalidRequest
from tests.pictures import picture, png

PNG = base64.b64encode(png((1, 2, 3))).decode()


def converted(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return openai_messages([OllamaMessage.model_validate(message) for message in messages])


def calling(*calls: tuple[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    functions = [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    return {"role": "assistant", "tool_calls": functions, **more}


def test_texts_stay_and_what_is_not_read_again_goes() -> None:
    chat: list[dict[str, Any]] = [
        {"role": "system", "content": "Be terse."},
        {"role": "assistant", "content": "4", "thinking": "Hm.", "images": None, "novelty": 1},
        {"role": "user"},
    ]
    assert converted(*chat) == [
        {"role": "system", "content": "Be terse."},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": ""},
    ]


def test_calls_get_ids_and_results_those_of_their_calls() -> None:
    chat = converted(
        calling(("f", {"x": "ü"}), ("g", {})),
        {"role": "tool", "tool_name": "g", "content": "two"},
        {"role": "tool", "tool_name": "f", "content": "one"},
        calling(("f", {})),
        {"role": "tool", "content": "three"},
        {"role": "tool", "tool_name": "h", "content": "of nothing"},
    )
    ids = [[call["id"] for call in message.get("tool_calls", ())] for message in chat]
    assert ids == [["call_0", "call_1"], [], [], ["call_2"], [], []]
    assert chat[0]["tool_calls"][0] == {
        "id": "call_0",
        "type": "function",
        "function": {"name": "f", "arguments": '{"x": "ü"}'},
    }
    results = [(each.get("tool_call_id"), each.get("name"), each["content"]) for each in chat if each["role"] == "tool"]
    assert results == [
        ("call_1", "g", "two"),
        ("call_0", "f", "one"),
        ("call_2", "f", "three"),
        (None, "h", "of nothing"),
    ]


def test_ids_that_a_client_has_are_its_own() -> None:
    chat = calling(("f", {}))
    chat["tool_calls"][0]["id"] = "mine"
    made = converted(chat, {"role": "tool", "tool_call_id": "mine", "content": "x"})
    assert (made[0]["tool_calls"][0]["id"], made[1]["tool_call_id"]) == ("mine", "mine")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_picture_becomes_a_data_url_of_its_kind(kind: str) -> None:
    image = base64.b64encode(picture((1, 2, 3), kind)).decode()
    (message,) = converted({"role": "user", "content": "What?", "images": [image]})
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{image}"}},
        {"type": "text", "text": "What?"},
    ]


@pytest.mark.parametrize("image", ["", "x", "R0lGODlhAQABAAAAACw=", "/etc/passwd", "http://x/y.png", "ü" * 20])
def test_what_is_no_picture_is_refused(image: str) -> None:
    with pytest.raises(InvalidRequest, match="no PNG, JPEG or WebP"):
        converted({"role": "user", "images": [PNG, image]})


@pytest.mark.parametrize(
    "message",
    [
        {"content": "x"},
        {"role": "king", "content": "x"},
        {"role": "user", "content": 3},
        {"role": "user", "content": ["x"]},
        calling(("f", {})) | {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
    ],
)
def test_what_is_no_message_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        converted(message)
