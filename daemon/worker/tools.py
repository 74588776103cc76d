"""Tool calls out of an answer's text: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``.

That is the form of the Hermes and Qwen families. Invariant: splitting a text into other pieces changes neither the
visible text nor the calls, and what is not a valid call stays in the text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from daemon.surrogates import without_surrogates

_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """``arguments_json`` is the text of a JSON object."""

    name: str
    arguments_json: str


class ToolCallFilter:
    """Takes an answer in pieces and lets the text through that is not part of a tool call.

    White space is held back until something visible follows it, because next to a call it is dropped.
    """

    def __init__(self) -> None:
        self._held = ""
        self._is_after_call = False

    def feed(self, text: str) -> tuple[str, list[ToolCall]]:
        """The text that can be shown now, and the calls that are complete now."""
        self._held += text
        visible: list[str] = []
        calls: list[ToolCall] = []
        while (opened := self._held.find(_OPEN)) >= 0 and (closed := self._held.find(_CLOSE, opened)) >= 0:
            passage, self._held = self._held[:closed], self._held[closed + len(_CLOSE) :]
            before, _, inside = passage.rpartition(_OPEN)
            if call := _parse_call(inside):
                visible.append(self._shown(before.rstrip()))
                calls.append(call)
                self._is_after_call = True
            else:
                visible.append(self._shown(passage + _CLOSE))
        safe = self._held[: opened if opened >= 0 else len(self._held) - _marker_overlap(self._held)].rstrip()
        self._held = self._held[len(safe) :]
        visible.append(self._shown(safe))
        return "".join(visible), calls

    def flush(self) -> tuple[str, list[ToolCall]]:
        """What is left at the end of the answer; the last call may lack its closing marker."""
        held, self._held = self._held, ""
        before, opening, inside = held.rpartition(_OPEN)
        if opening and (call := _parse_call(inside)):
            return self._shown(before.rstrip()), [call]
        return self._shown(held), []

    def _shown(self, text: str) -> str:
        """``text`` as it is shown: without the white space that follows a call."""
        if not self._is_after_call:
            return text
        text = text.lstrip()
        self._is_after_call = not text
        return text


def _marker_overlap(text: str) -> int:
    """Length of the longest end of ``text`` that may be the beginning of an opening marker."""
    return next((size for size in range(len(_OPEN) - 1, 0, -1) if text.endswith(_OPEN[:size])), 0)


def _parse_call(text: str) -> ToolCall | None:
    """The call written as JSON in ``text``, or None. Arguments may be an object or a string that holds one."""
    call = _json_object(text)
    if call is None or not isinstance(name := call.get("name"), str) or not name:
        return None
    arguments = call.get("arguments", call.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _json_object(arguments)
    if not isinstance(arguments, dict):
        return None
    arguments_json = without_surrogates(json.dumps(arguments, ensure_ascii=False))
    return ToolCall(without_surrogates(name), arguments_json)


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
