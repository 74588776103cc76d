"""Calls whose name stands outside of the JSON: Mistral's, DeepSeek's, and those in tags of Qwen3-Coder and Llama."""

from __future__ import annotations

import json
from typing import Any

from daemon.worker.tools.calls import Calls
from daemon.worker.tools.feed import Feed, Reading
from daemon.worker.tools.json_reading import pass_object

_MAX_NAME_CHARACTERS = 128

MISTRAL_ID, MISTRAL_ARGUMENTS = "[CALL_ID]", "[ARGS]"
DEEPSEEK_CALL, DEEPSEEK_CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
DEEPSEEK_SEPARATOR = "<｜tool▁sep｜>"
_DEEPSEEK_KIND = "function"
_FENCE, _FENCE_END = "```json", "```"
FUNCTION, FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"


def read_mistral_call(feed: Feed, calls: Calls) -> Reading[bool]:
    """``name[ARGS]{...}``, with an id in between in some versions, and without ``[ARGS]`` in others."""
    name = yield from _read_name(feed)
    if (yield from feed.take(MISTRAL_ID)):
        yield from feed.take_while(str.isalnum, most=_MAX_NAME_CHARACTERS)
    yield from feed.take(MISTRAL_ARGUMENTS)
    return (yield from _read_arguments(feed, calls, name))


def read_deepseek_calls(feed: Feed, calls: Calls) -> Reading[bool]:
    """``function`` and the name before a fenced block (V3, R1), or the name and the bare object (V3.1)."""
    has_any = False
    while not calls.is_full:
        yield from feed.skip()
        if not (yield from feed.take(DEEPSEEK_CALL)):
            break
        name = yield from _read_name(feed)
        if not (yield from feed.take(DEEPSEEK_SEPARATOR)):
            break
        if name == _DEEPSEEK_KIND:
            name = yield from _read_name(feed)
        yield from feed.skip()
        yield from feed.take(_FENCE)
        if not (yield from _read_arguments(feed, calls, name)):
            break
        has_any = True
        yield from feed.skip()
        yield from feed.take(_FENCE_END)
        yield from feed.skip()
        yield from feed.take(DEEPSEEK_CALL_END)
    return has_any


def read_tagged_call(feed: Feed, calls: Calls) -> Reading[bool]:
    """``<function=name>`` with JSON in it, or with ``<parameter=key>`` tags, whose texts get the schema's types."""
    yield from feed.skip()
    if not (yield from feed.take(FUNCTION)):
        return False
    return (yield from read_function(feed, calls))


def read_function(feed: Feed, calls: Calls) -> Reading[bool]:
    """The same, after the beginning of the tag."""
    name = yield from _read_name(feed)
    if not name or not (yield from feed.take(">")):
        return False
    yield from feed.skip()
    if not (yield from _read_arguments(feed, calls, name)):
        calls.begin(name)
        yield from _read_parameters(feed, calls, calls.schemas.get(name, {}))
        calls.end()
    yield from feed.skip()
    yield from feed.take(FUNCTION_END)
    return True


def _read_name(feed: Feed) -> Reading[str]:
    yield from feed.skip()
    return (yield from feed.take_while(lambda each: each.isalnum() or each in "_-.", most=_MAX_NAME_CHARACTERS))


def _read_arguments(feed: Feed, calls: Calls, name: str) -> Reading[bool]:
    yield from feed.skip()
    if not name or (yield from feed.peek()) != "{":
        return False
    calls.begin(name)
    yield from pass_object(feed, calls.add)
    calls.end()
    return True


def _read_parameters(feed: Feed, calls: Calls, schema: Any) -> Reading[None]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    before = "{"
    while True:
        yield from feed.skip()
        if not (yield from feed.take(_PARAMETER)):
            break
        key = yield from feed.until(">")
        text = yield from feed.until(_PARAMETER_END)
        if key is None or text is None:  # cut off: half a value would look like a whole one
            break
        described = properties.get(key) if isinstance(properties, dict) else None
        calls.add(f"{before}{json.dumps(key)}: {_as_json(text, described)}")
        before = ", "
    calls.add("{}" if before == "{" else "}")


def _as_json(text: str, schema: Any) -> str:
    """A parameter's text, which stands on lines of its own, as the JSON value that its schema speaks of."""
    text = text.removeprefix("\n").removesuffix("\n")
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind != "string":
        try:
            return json.dumps(json.loads(text), ensure_ascii=False)
        except (ValueError, RecursionError):
            pass
    return json.dumps(text, ensure_ascii=False)
