"""Streams as the public references of their APIs have them, against ours.

In a sample ``"<number>"`` stands for any number, and ``"<msg_>"`` for any text that begins so: ids and times. A sample
has the keys that a reference promises; more may stand beside them, and everything else is the same: the lines, their
order, the events and their names, the order of keys excepted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.pool.launch import Event
from daemon.pool.protocol import Delta, ToolCallDelta
from tests.daemon.api.chats import HI, a_tool
from tests.daemon.api.ollama.served import CHAT, PROMPT, ollama
from tests.daemon.api.scripted import endpoint
from tests.daemon.api.test_responses import WEATHER, responses
from tests.daemon.test_answers import finished
from tests.fakes import on_loop

RECORDED = Path(__file__).parent / "recorded"
TEXT: tuple[Event, ...] = (Delta("r", "Good", 1), Delta("r", " day", 1), finished())
CALL: tuple[Event, ...] = (
    Delta("r", "", 1, tool_calls=[ToolCallDelta(index=0, name="get_weather")]),
    Delta("r", "", 1, tool_calls=[ToolCallDelta(index=0, arguments='{"city"')]),
    Delta("r", "", 1, tool_calls=[ToolCallDelta(index=0, arguments=':"Oslo"}')]),
    finished(finish_reason="tool_calls"),
)
TOOL = a_tool("get_weather")
CLAUDE: dict[str, Any] = {"model": "a", "max_tokens": 99, "stream": True, **HI}

SERVED: dict[str, tuple[str, dict[str, Any], tuple[Event, ...]]] = {
    "chat_with_usage": (
        "/v1/chat/completions",
        {"model": "a", "stream": True, "stream_options": {"include_usage": True}, **HI},
        TEXT,
    ),
    "chat_with_a_call": ("/v1/chat/completions", {"model": "a", "stream": True, "tools": [TOOL], **HI}, CALL),
    "messages_with_text": ("/v1/messages", CLAUDE, TEXT),
    "messages_with_a_call": (
        "/v1/messages",
        {**CLAUDE, "tools": [{"name": "get_weather", "input_schema": {"type": "object"}}]},
        CALL,
    ),
    "responses_with_text": ("/v1/responses", {"stream": True}, TEXT),
    "responses_with_a_call": ("/v1/responses", {"stream": True, "tools": [WEATHER]}, CALL),
    "ollama_chat": ("/api/chat", CHAT, TEXT),
    "ollama_chat_with_a_call": ("/api/chat", {**CHAT, "tools": [TOOL]}, CALL),
    "ollama_generate": ("/api/generate", PROMPT, TEXT),
}


async def streamed(path: str, body: dict[str, Any], script: tuple[Event, ...], home: Path) -> str:
    if path.startswith("/api/"):
        async with ollama(*script) as theirs:
            return (await theirs.post(path.removeprefix("/api/"), body)).text
    if path == "/v1/responses":
        async with responses(home, *script) as api:
            return (await api.post(**body)).text
    async with endpoint(*script) as served:
        return (await served.post_to(path, body)).text


def lines_of(stream: str) -> list[tuple[str, Any]]:
    """The name of each line's field ("" for a line that is all JSON), and what it says."""
    read: list[tuple[str, Any]] = []
    for line in stream.split("\n"):
        name, _, said = ("", "", line) if line.startswith("{") else line.partition(": ")
        read.append((name, json.loads(said) if said.startswith("{") else said))
    return read


def differences(sample: Any, ours: Any, where: str = "") -> list[str]:
    if isinstance(sample, dict) and isinstance(ours, dict):
        missing = [f"{where}.{key} is missing" for key in sample.keys() - ours.keys()]
        both = sample.keys() & ours.keys()
        return missing + [each for key in both for each in differences(sample[key], ours[key], f"{where}.{key}")]
    if isinstance(sample, list | tuple) and isinstance(ours, list | tuple) and len(sample) == len(ours):
        pairs = enumerate(zip(sample, ours, strict=True))
        return [each for n, (one, other) in pairs for each in differences(one, other, f"{where}[{n}]")]
    return [] if _is_meant(sample, ours) else [f"{where}: {ours!r:.200} instead of {sample!r:.200}"]


def _is_meant(sample: Any, ours: Any) -> bool:
    if sample == "<number>":
        return isinstance(ours, int | float) and not isinstance(ours, bool)
    if isinstance(sample, str) and sample.startswith("<"):
        return isinstance(ours, str) and ours.startswith(sample.strip("<>"))
    return type(sample) is type(ours) and bool(sample == ours)


def test_each_recorded_stream_is_compared() -> None:
    assert {file.stem for file in RECORDED.iterdir()} == set(SERVED)


@pytest.mark.parametrize("name", SERVED)
@on_loop
async def test_a_stream_is_framed_as_recorded(name: str, tmp_path: Path) -> None:
    ours = await streamed(*SERVED[name], tmp_path)
    sample = (RECORDED / f"{name}.txt").read_text(encoding="utf-8")
    assert "\r" not in ours
    assert differences(lines_of(sample), lines_of(ours)) == []


@pytest.mark.parametrize(
    ("sample", "ours"),
    [
        ({"a": 1}, {}),
        ({"a": 1}, {"a": True}),
        ({"a": [1]}, {"a": [1, 2]}),
        ({"a": "<number>"}, {"a": "1"}),
        ({"a": "<msg_>"}, {"a": "resp_1"}),
        ([("data", "[DONE]")], [("event", "[DONE]")]),
        ([("data", "[DONE]"), ("", "")], [("data", "[DONE]")]),
    ],
)
def test_what_differs_is_noticed(sample: Any, ours: Any) -> None:
    assert differences(sample, ours) != []
