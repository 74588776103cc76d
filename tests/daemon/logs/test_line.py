from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from daemon import request_id
from daemon.logs.line import MAX_MESSAGE_CHARACTERS, MAX_TRACE_CHARACTERS, Line, as_json, from_json, line_of
from daemon.pool.failures import FailureKind


def record(message: str, *args: Any, level: int = logging.INFO, error: Exception | None = None) -> logging.LogRecord:
    what = (type(error), error, error.__traceback__) if error is not None else None
    made = logging.LogRecord("slmreg.pool", level, "f.py", 1, message, args, what)
    made.created = 1_795_771_295.396
    return made


def raised(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_a_line_of_json_has_the_time_in_utc_and_what_the_message_names() -> None:
    line = line_of(
        record(
            "session.failed model=%s pid=%d kind=%s %d%% took_s=%.2f of %s", "a:1", 7, FailureKind.HUNG, 5, 1.25, "b"
        )
    )
    assert json.loads(as_json(line)) == {
        "time": "2026-11-27T09:21:35.396Z",
        "level": "info",
        "logger": "slmreg.pool",
        "message": "session.failed model=a:1 pid=7 kind=hung 5% took_s=1.25 of b",
        "model": "a:1",
        "pid": 7,
        "kind": "hung",
        "took_s": 1.25,
    }


def test_what_was_written_is_read_back() -> None:
    request_id.begin("r-1")
    line = line_of(record("a.b model=%s", "m", level=logging.ERROR, error=raised("no")))
    assert (line.request_id, line.level) == ("r-1", "error")
    read = from_json(as_json(line))
    assert read is not None
    assert as_json(read) == as_json(line)


@pytest.mark.parametrize(
    "text", ["", "{", '{"time": "2026-11-27T09:21:35.396Z", "level": "in', "[]", "7", '{"time": "x"}', "\ufffd"]
)
def test_what_is_no_line_is_none(text: str) -> None:
    assert from_json(text) is None


def test_a_field_does_not_take_the_place_of_what_every_line_has() -> None:
    said = json.loads(as_json(line_of(record("a.b level=%s time=%s", "x", "y"))))
    assert (said["level"], said["level_"], said["time_"]) == ("info", "x", "y")


def test_nothing_in_a_line_can_break_it_or_steer_a_terminal() -> None:
    line = line_of(record("a.b name=%s", "x\n2026 ERROR forged \x1b[31m\u2028"))
    assert line.message == "a.b name=x\\n2026 ERROR forged \\x1b[31m\\u2028"
    assert "\n" not in as_json(line)


def test_a_line_is_bounded() -> None:
    error = raised("y" * 100_000)
    line = line_of(record("a.b text=%s", "x" * 100_000, error=error), shows_errors=True)
    assert len(line.message) == MAX_MESSAGE_CHARACTERS
    assert len(str(line.fields["text"])) == MAX_MESSAGE_CHARACTERS
    assert len(line.trace or "") == MAX_TRACE_CHARACTERS
    assert line.size < 2 * (MAX_MESSAGE_CHARACTERS + MAX_TRACE_CHARACTERS)


@pytest.mark.parametrize(
    ("is_answering", "shows_errors", "is_quoted"), [(True, False, False), (True, True, True), (False, False, True)]
)
def test_the_words_of_an_exception_may_quote_a_request_and_are_left_out_then(
    is_answering: bool, shows_errors: bool, is_quoted: bool
) -> None:
    token = request_id._current.set("r-1" if is_answering else None)
    try:
        line = line_of(record("api.bug", error=raised("the prompt")), shows_errors=shows_errors)
    finally:
        request_id._current.reset(token)
    assert line.trace is not None
    assert "ValueError" in line.trace
    assert "test_line.py" in line.trace
    assert ("the prompt" in line.trace) is is_quoted


@pytest.mark.parametrize(("message", "args"), [("a %d", ("x",)), ("a %s %s", (1,)), ("100%", (1,))])
def test_a_message_whose_arguments_do_not_fit_is_said_as_it_is(message: str, args: tuple[Any, ...]) -> None:
    assert line_of(record(message, *args)).message == message


def test_numbers_that_json_does_not_have_are_texts() -> None:
    assert json.loads(as_json(line_of(record("a.b x=%s y=%s", float("nan"), sys.maxsize))))["x"] == "nan"


def test_every_level_has_a_name() -> None:
    names = [line_of(record("x", level=level)).level for level in (5, 10, 20, 25, 30, 40, 50, 70)]
    assert names == ["debug", "debug", "info", "info", "warning", "error", "critical", "critical"]


def test_a_line_can_be_made_by_hand() -> None:
    assert Line(time_s=0.0, level="info", logger="x", message="y").time == "1970-01-01T00:00:00.000Z"
