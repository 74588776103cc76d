"""``Line``: one entry of the log, made of what was logged, written as JSON, and read back.

Invariant: what a line holds is bounded, and text of unknown origin (the words of an exception while a request is
answered, which may quote it) is left out unless prompts may be logged.
"""

from __future__ import annotations

import json
import logging
import math
import re
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from daemon import request_id

MAX_MESSAGE_CHARACTERS = 8192
MAX_TRACE_CHARACTERS = 16_384
LEVELS = ("debug", "info", "warning", "error", "critical")

Field = str | int | float | bool | None
# A conversion of %-formatting, and the name before it in "name=%s", if there is one.
_CONVERSION = re.compile(r"(?:(\w+)='?)?%(?:[-#0 +]*\d*(?:\.\d+)?([a-zA-Z])|%)")
_RESERVED = frozenset({"time", "level", "logger", "message", "request_id", "trace"})
# A line of the log is a line of text, and nothing in it steers a terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """``time_s`` is Unix time, ``message`` one line of printable text; ``fields`` are what it names, by name.

    ``trace`` is the stack of an exception, in several lines.
    """

    time_s: float
    level: str
    logger: str
    message: str
    request_id: str | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    trace: str | None = None

    @property
    def size(self) -> int:
        """Characters that it takes, about."""
        return len(self.message) + len(self.trace or "") + 200

    @property
    def time(self) -> str:
        """ISO 8601 in UTC, to the millisecond."""
        return datetime.fromtimestamp(self.time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line_of(record: logging.LogRecord, *, shows_errors: bool = False) -> Line:
    """On the thread that logs: the request is known only there, and what is logged may change afterwards.

    ``shows_errors``: also the words of an exception while a request is answered.
    """
    current = request_id.current()
    return Line(
        time_s=record.created,
        level=_level(record.levelno),
        logger=record.name,
        message=_cut(printable(_message(record)), MAX_MESSAGE_CHARACTERS),
        request_id=current,
        fields=dict(_fields(record)),
        trace=_trace(record, has_words=shows_errors or current is None),
    )


def as_json(line: Line) -> str:
    """One line of JSON, in ASCII, without its end."""
    said = {"time": line.time, "level": line.level, "logger": line.logger, "message": line.message}
    own = {f"{name}_" if name in _RESERVED else name: value for name, value in line.fields.items()}
    rest = {"request_id": line.request_id, "trace": line.trace}
    return json.dumps({**said, **{name: value for name, value in rest.items() if value is not None}, **own})


def from_json(text: str | bytes) -> Line | None:
    """None for what is no line of ours: one that was cut off when the disk was full."""
    try:
        said: dict[str, Any] = json.loads(text)
        return Line(
            time_s=datetime.fromisoformat(said.pop("time")).timestamp(),
            level=str(said.pop("level")),
            logger=str(said.pop("logger")),
            message=str(said.pop("message")),
            request_id=said.pop("request_id", None),
            trace=said.pop("trace", None),
            fields=said,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def printable(text: str) -> str:
    """``text`` with its control characters written out."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _level(number: int) -> str:
    """The most severe one of ours that is not above it."""
    return LEVELS[min(max(number // 10, 1), len(LEVELS)) - 1]


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit, which is a bug, and no reason to lose the line
        return str(record.msg)


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Field]]:
    """What stands in the message as ``name=value``: the names are the format's, the values the arguments."""
    if not isinstance(record.msg, str) or not isinstance(record.args, tuple):
        return
    conversions = [found for found in _CONVERSION.finditer(record.msg) if found[2]]
    for found, value in zip(conversions, record.args, strict=False):
        if found[1]:
            yield found[1], _value(value)


def _value(value: object) -> Field:
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _cut(str(value), MAX_MESSAGE_CHARACTERS)


def _trace(record: logging.LogRecord, *, has_words: bool) -> str | None:
    if record.exc_info is None or record.exc_info[1] is None:
        return None
    error = record.exc_info[1]
    if has_words:
        text = "".join(traceback.format_exception(error))
    else:
        text = "".join(["Traceback:\n", *traceback.format_tb(error.__traceback__), type(error).__name__])
    return _cut(text.rstrip(), MAX_TRACE_CHARACTERS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
