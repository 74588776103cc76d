"""Calls written as JSON: ``{"name": ..., "arguments": {...}}``, alone or in a list.

What comes before the arguments is held back, because it may turn out to be no call. From the arguments' brace on it is
one, and they are passed on as they are written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from daemon.worker.tools.calls import Calls
from daemon.worker.tools.feed import Feed, Reading

# OpenAI's words and those of Llama ("parameters") and Command ("tool_name").
_NAMES = ("name", "tool_name")
_ARGUMENTS = ("arguments", "parameters")
_NESTED = "function"
_KNOWN = frozenset({*_NAMES, *_ARGUMENTS, _NESTED, "type", "id"})
_MAX_SCALAR_CHARACTERS = 64
# All that stands in JSON outside of its strings.
_BARE = frozenset("{}[]:,+-.0123456789eEtrufalsn \t\r\n")
_PAIRS = {"}": "{", "]": "["}


def read_json_calls(feed: Feed, calls: Calls) -> Reading[bool]:
    """One call, or a list of them. False, with nothing found, for anything else."""
    yield from feed.skip()
    if not (yield from feed.take("[")):
        return (yield from read_json_call(feed, calls))
    has_any = False
    while not calls.is_full and (yield from read_json_call(feed, calls)):
        has_any = True
        yield from feed.skip()
        if not (yield from feed.take(",")):
            break
    yield from feed.skip()
    yield from feed.take("]")
    return has_any


def read_json_call(feed: Feed, calls: Calls, *, names: Collection[str] | None = None) -> Reading[bool]:
    """One call. With ``names`` it has to be of one of these tools, and to have nothing in it that no call has."""
    yield from feed.skip()
    if not (yield from feed.take("{")):
        return False
    call = _Call(calls, names)
    while True:
        yield from feed.skip()
        if (yield from feed.take("}")):
            return call.finish()
        if not (yield from call.read_member(feed)):
            return call.is_begun
        yield from feed.skip()
        if not (yield from feed.take(",")) and (yield from feed.peek()) != "}":
            return call.is_begun


def pass_object(feed: Feed, add: Callable[[str], None]) -> Reading[None]:
    """Hand on the text of the object that begins here, up to its end or to what cannot be a part of it.

    A control character within a string, which JSON does not allow and models write, is handed on as an escape.
    """
    opened: list[str] = []
    is_string = is_escaped = False
    while (yield from feed.peek()):
        passed: list[str] = []
        for character in feed.rest:
            if is_string:
                is_string = is_escaped or character != '"'
                is_escaped = not is_escaped and character == "\\"
                passed.append(json.dumps(character)[1:-1] if character < " " else character)
                continue
            if (character not in _BARE and character != '"') or not _is_balanced(opened, character):
                break
            is_string = character == '"'
            passed.append(character)
            if not opened:
                break
        feed.position += len(passed)
        add("".join(passed))
        if not opened or (not is_string and feed.rest):
            return


def _is_balanced(opened: list[str], character: str) -> bool:
    """Whether ``character`` fits to the brackets that are open, which it changes."""
    if character in _PAIRS.values():
        opened.append(character)
    elif character in _PAIRS:
        return bool(opened) and opened.pop() == _PAIRS[character]
    return True


class _Call:
    """One call on its way: the members read so far."""

    def __init__(self, calls: Calls, names: Collection[str] | None) -> None:
        self._calls = calls
        self._names = names
        self._name: str | None = None
        self._held: dict[str, Any] | None = None
        self.is_begun = False

    def finish(self) -> bool:
        """At the closing brace: whether this was a call."""
        if self.is_begun:
            return True
        if self._name is None:
            return False
        self._calls.whole(self._name, self._held or {})
        return True

    def read_member(self, feed: Feed) -> Reading[bool]:
        key = yield from _read_value(feed)
        yield from feed.skip()
        if not isinstance(key, str) or not (yield from feed.take(":")):
            return False
        if self._names is not None and key not in _KNOWN:
            return False
        yield from feed.skip()
        is_object = (yield from feed.peek()) == "{"
        if is_object and key in _ARGUMENTS and self._name is not None and not self.is_begun:
            yield from self._pass_arguments(feed, self._name)
            return True
        if is_object and key == _NESTED and not self.is_begun:
            self.is_begun = yield from read_json_call(feed, self._calls, names=self._names)
            return self.is_begun
        value = yield from _read_value(feed)
        return value is not _NOTHING and self._is_taken(key, value)

    def _pass_arguments(self, feed: Feed, name: str) -> Reading[None]:
        self.is_begun = True
        self._calls.begin(name)
        yield from pass_object(feed, self._calls.add)
        self._calls.end()

    def _is_taken(self, key: str, value: Any) -> bool:
        if self.is_begun:
            return True
        if key in _NAMES:
            self._name = value if isinstance(value, str) else None
            return bool(self._name) and (self._names is None or self._name in self._names)
        if key in _ARGUMENTS:
            self._held = _parsed(value) if isinstance(value, str) else value
            return isinstance(self._held, dict)
        return True


_NOTHING = object()


def _read_value(feed: Feed) -> Reading[Any]:
    """The JSON value that begins here, or _NOTHING."""
    texts: list[str] = []
    first = yield from feed.peek()
    if first in ("{", "["):
        yield from pass_object(feed, texts.append)
    elif first == '"':
        yield from _pass_string(feed, texts.append)
    else:
        scalar = yield from feed.take_while(lambda each: each not in ",}] \t\r\n", most=_MAX_SCALAR_CHARACTERS)
        texts.append(scalar)
    return _parsed("".join(texts))


def _pass_string(feed: Feed, add: Callable[[str], None]) -> Reading[None]:
    feed.position += 1
    add('"')
    is_escaped = False
    while character := (yield from feed.peek()):
        feed.position += 1
        add(character)
        if character == '"' and not is_escaped:
            return
        is_escaped = not is_escaped and character == "\\"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOTHING
