from __future__ import annotations

import io
import os
import socket
from collections.abc import Mapping
from typing import TextIO

import pytest

from daemon.logs.console import Console
from daemon.logs.line import Line

LINE = Line(time_s=0.0, level="warning", logger="slmreg.pool", message="a.b c=1", request_id="r", trace="one\n  two")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_reads_time_level_logger_message_and_request() -> None:
    assert Console().render(LINE) == (
        "1970-01-01T00:00:00.000Z WARNING slmreg.pool a.b c=1 request_id=r\n    one\n      two\n"
    )


@pytest.mark.parametrize(
    ("stream", "environment", "has_colour"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_terminals(stream: TextIO, environment: Mapping[str, str], has_colour: bool) -> None:
    console = Console.of(stream, environment)
    assert ("\x1b[" in console.render(LINE)) is has_colour


def test_the_journal_gets_the_level_before_every_line_and_adds_the_time_itself() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, os.fdopen(os.dup(ours.fileno()), "w") as stream:
        status = os.fstat(ours.fileno())
        is_ours = Console.of(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert is_ours.render(LINE) == "<4>WARNING slmreg.pool a.b c=1 request_id=r\n<4>    one\n<4>      two\n"
        for other in (f"{status.st_dev}:{status.st_ino + 1}", "", "x:y", "7"):
            assert not Console.of(stream, {"JOURNAL_STREAM": other}).is_journal


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_every_level_has_its_priority(level: str, priority: int) -> None:
    line = Line(time_s=0.0, level=level, logger="x", message="y")
    assert Console(is_journal=True).render(line).startswith(f"<{priority}>")


def test_what_is_read_back_from_a_file_steers_no_terminal_either() -> None:
    line = Line(time_s=0.0, level="info", logger="x\x1b[1m", message="y\x07", request_id="\n", trace="\x1b[2J")
    assert not set(Console().render(line)) & {"\x1b", "\x07"}
    assert Console().render(line).count("\n") == 2
