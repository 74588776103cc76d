"""Takes out of texts what tells who somebody is or what they have: keys, paths, and the names that it is given.

What is known to be private is replaced wherever it stands; what only looks like it (a key, a path) as well. Of logs,
whose lines hold anything, only what is known to be harmless is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sized
from enum import Enum
from typing import Any, Literal, get_origin

from daemon.settings import Settings

_KEY = re.compile(r"(?i)\b(sk-[\w-]{8,}|bearer\s+\S+|(?<=://)[^/\s@]+@)")
_QUOTED_PATH = re.compile(r"""(["'])(?:[A-Za-z]:[\\/]|[~/\\])[^"']*\1""")
# A word behind a path with a separator in it is a part of that path, whose folder has a space in its name.
_MORE = r"(?:\s+[^\s'\",;()/\\]*[\\/][^\s'\",;()]*)*"
_HOME_PATH = re.compile(r"~[\\/][^\s'\",;()]*" + _MORE)
_PATH = re.compile(r"(?:(?<![\w:/.<>~-])/(?:[^\s/'\",;()]+/)*[^\s/'\",;()]+|\b[A-Za-z]:\\[^\s'\",;()]+)" + _MORE)
# What is said of slmreg itself.
_OUR_ROUTES = re.compile(r"/(?:v1|api|slmreg|openai|healthz|readyz|metrics)\b")
# The same on every machine.
_SYSTEM = re.compile(r"/(?:proc|sys|dev)\b")
# Replaced as whole words, these would only make a text hard to read.
_COMMON = frozenset({"root", "user", "admin", "localhost", "slmreg"})

_EVENT = re.compile(r"^[a-z_]+(?:\.[a-z_]+)+$")
_FIELD = re.compile(r"""(\w+)=('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\S+)""")
_FRAME = re.compile(
    r"""^\s+File ".*(?:site-packages/|/(?=(?:daemon|registry|selector)/))(?P<file>[\w./-]+)", line (?P<line>\d+)"""
)
_RAISED = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit)\b")
_NUMBER = re.compile(r"^-?\d+(?:\.\d+)?$")
# Fields of lines in JSON: what they look like when they hold what they should.
_JSON_FORMS = {
    "time": re.compile(r"\d{4}-\d\d-\d\dT[\d:.+Z-]+"),
    "level": re.compile(r"[A-Za-z]{1,8}"),
    "logger": re.compile(r"(?:slmreg|uvicorn|asyncio)[\w.]*"),
}
# Fields of log lines whose values are words of slmreg's own.
_HARMLESS = frozenset({"status", "code", "kind", "state", "method", "device", "engine", "why", "searched"})


class Scrubber:
    """``names``: each private text, and what stands in its place."""

    def __init__(self, names: Mapping[str, str]) -> None:
        wanted = {name: stand_in for name, stand_in in names.items() if name and name.lower() not in _COMMON}
        longest_first = sorted(wanted, key=len, reverse=True)
        self._stand_ins = {name.casefold(): stand_in for name, stand_in in wanted.items()}
        words = "|".join(f"{_edge(name[0], '<!')}{re.escape(name)}{_edge(name[-1], '!')}" for name in longest_first)
        self._names = re.compile(words, re.IGNORECASE) if words else None

    def text(self, text: str) -> str:
        text = _KEY.sub("<key>", text)
        if self._names is not None:
            text = self._names.sub(lambda found: self._stand_ins.get(found[0].casefold(), "<name>"), text)
        text = _QUOTED_PATH.sub("<path>", text)
        text = _HOME_PATH.sub("~", text)
        return _PATH.sub(lambda found: found[0] if _is_ours(found[0]) else "<path>", text)

    def value(self, value: Any) -> Any:
        """Every text in a JSON value, keys of objects aside: those are slmreg's own."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(each) for key, each in value.items()}
        return [self.value(each) for each in value] if isinstance(value, list | tuple) else value


def _edge(character: str, kind: str) -> str:
    """Where a name begins or ends with a letter or digit, it has to be a word of its own."""
    return rf"(?{kind}\w)" if character.isalnum() else ""


def _is_ours(path: str) -> bool:
    return bool(_OUR_ROUTES.match(path) or _SYSTEM.match(path))


def harmless_settings(settings: Settings) -> dict[str, Any]:
    """Numbers, switches and words of a fixed choice as they are; of texts, lists and tables only that they are set."""
    return {name: _harmless(value, Settings.model_fields[name].annotation) for name, value in settings}


def _harmless(value: Any, kind: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | Enum) or get_origin(kind) is Literal:
        return value
    return f"<{len(value)} entries>" if isinstance(value, Sized) and not isinstance(value, str) else "<set>"


def harmless_log(lines: Iterable[str]) -> Iterator[str]:
    """Of lines in JSON what is known to tell nothing: time, level, logger, event, numbers, and where an error was
    raised."""
    for line in lines:
        try:
            fields = json.loads(line)
        except ValueError:  # cut off
            continue
        if isinstance(fields, dict):
            yield json.dumps({name: _harmless_field(name, value) for name, value in fields.items()})


def _harmless_words(said: str) -> Iterator[str]:
    event, _, rest = said.partition(" ")
    yield event if _EVENT.match(event) else "..."
    for name, value in _FIELD.findall(rest):
        yield f"{name}={value if _is_harmless(name, value) else '...'}"


def _harmless_field(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if not isinstance(value, str):
        return "..."
    if name == "message":
        return " ".join(_harmless_words(value))
    if name == "trace":
        return " ".join(_harmless_trace(value.splitlines()))
    form = _JSON_FORMS.get(name)
    is_harmless = form.fullmatch(value) is not None if form is not None else _is_harmless(name, value)
    return value if is_harmless else "..."


def _harmless_trace(lines: Iterable[str]) -> Iterator[str]:
    """Where it was raised, and as what."""
    for line in lines:
        if (frame := _FRAME.match(line)) is not None:
            yield f"{frame['file']}:{frame['line']}"
        elif (raised := _RAISED.match(line)) is not None:
            yield raised[0]


def _is_harmless(name: str, value: str) -> bool:
    return bool(_NUMBER.match(value)) or (name in _HARMLESS and value.islower() and value.isidentifier())
