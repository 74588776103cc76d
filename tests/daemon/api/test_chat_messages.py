from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import ValidationError

from registry.errors import InvalidRequest
from tests.daemon.api.chats import a_chat, question

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def a_picture(url: str = PNG, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def asked(*parts: dict[str, Any], role: str = "user") -> list[dict[str, Any]]:
    return question(messages=[{"role": role, "content": list(parts)}]).messages


def test_an_assistant_that_refused_said_so() -> None:
    refusal = {"type": "refusal", "refusal": "I would rather not."}
    assert asked(refusal, role="assistant") == [{"role": "assistant", "content": "I would rather not."}]
    for parts, role in (([refusal], "user"), ([{**refusal, "text": "and more"}], "assistant")):
        with pytest.raises(ValidationError, match="refus"):
            asked(*parts, role=role)


def test_content_parts_become_text_and_developer_becomes_system() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert asked(*parts, role="developer") == [{"role": "system", "content": "ab"}]


def test_a_tool_round_trip_keeps_what_the_template_needs() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [{**call, "index": 0}], "refusal": None},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]
    kept = question(messages=messages).messages
    assert kept[0] == {"role": "assistant", "content": "", "tool_calls": [call]}
    assert kept[1] == {"role": "tool", "content": "42", "tool_call_id": "c1"}


def test_what_an_answer_said_beside_its_content_can_be_sent_back() -> None:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "4",
        "reasoning_content": "2 + 2",
        "refusal": None,
        "annotations": [],
    }
    assert question(messages=[message]).messages == [{"role": "assistant", "content": "4"}]


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "PNG"])
def test_pictures_are_passed_on_as_they_came(kind: str) -> None:
    picture = a_picture(PNG.replace("png", kind), detail="low")
    text = {"type": "text", "text": "What is this?"}
    assert asked(text, picture) == [{"role": "user", "content": [text, picture]}]


def test_a_request_with_pictures_wants_a_model_that_sees_and_room_for_them() -> None:
    text = {"type": "text", "text": "What is this?"}
    wants = a_chat(messages=[{"role": "user", "content": [text, a_picture()]}]).wants()
    assert wants.needs_vision
    assert wants.turns == ("What is this?",)
    assert wants.context_tokens == 1004
    assert not a_chat().wants().needs_vision


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://example.com/cat.png", "nothing is fetched"),
        ("http://127.0.0.1/cat.png", "nothing is fetched"),
        ("file:///etc/passwd", "nothing is fetched"),
        ("/etc/passwd", "nothing is fetched"),
        ("data:,hello", "nothing is fetched"),
        ("data:image/png,hello", "nothing is fetched"),
        ("data:image/svg+xml;base64,PHN2Zz4=", r"image/svg\+xml are not supported; these are: png, jpeg, webp"),
        ("data:image/gif;base64,R0lGODlh", "image/gif are not supported"),
        ("data:image/png;base64,", "the picture is empty"),
        ("data:image/png;base64,%%%%", "not base64"),
        ("data:image/png;base64,iVBORw0KGg", "not base64"),
        ("data:image/png;base64,ééé=", "not base64"),
    ],
)
def test_a_picture_that_cannot_be_used_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as caught:
        asked(a_picture(url))
    furthest = max(caught.value.errors(), key=lambda error: len(error["loc"]))
    assert [part for part in furthest["loc"] if "[" not in str(part)] == [
        *("messages", 0, "content", 0, "image_url", "url")
    ]


def test_more_pictures_than_allowed_are_refused_with_both_numbers() -> None:
    assert len(asked(*[a_picture()] * 16)[0]["content"]) == 16
    message = {"role": "user", "content": [a_picture()] * 9}
    with pytest.raises(InvalidRequest, match="18 pictures; one request can have at most 16") as caught:
        question(messages=[message, message])
    assert caught.value.param == "messages"


@pytest.mark.parametrize("role", ["system", "developer", "assistant", "tool"])
def test_only_the_user_can_show_pictures(role: str) -> None:
    with pytest.raises(ValidationError, match=f"this one's role is {role}"):
        asked(a_picture(), role=role)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text"},
        {"type": "image_url"},
        {"type": "image_url", "image_url": PNG},
        {"type": "image_url", "image_url": {"url": PNG}, "text": "and this"},
        {"type": "text", "text": "this", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "extreme"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}},
    ],
)
def test_what_is_neither_a_text_nor_a_picture_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="content"):
        asked(part)
