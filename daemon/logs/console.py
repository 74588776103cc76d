"""How a line of the log looks to a person: on a terminal, in a file, in systemd's journal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TextIO

from daemon.logs.line import Line, printable

# What syslog and the journal call the levels.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
_WIDEST_LEVEL = 7


@dataclass(frozen=True, slots=True)
class Console:
    """``is_journal``: the time is the journal's to add, and it takes the level from the ``<N>`` before each line."""

    has_colour: bool = False
    is_journal: bool = False

    @classmethod
    def of(cls, stream: TextIO, environment: Mapping[str, str]) -> Self:
        """What ``stream`` is. Colour is for terminals, unless ``NO_COLOR`` is set."""
        is_terminal = stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        return cls(has_colour=is_terminal, is_journal=_is_journal(stream, environment.get("JOURNAL_STREAM", "")))

    def render(self, line: Line) -> str:
        """With the end of the line; the stack of an exception follows in lines of its own."""
        level = self._painted(f"{line.level.upper():<{_WIDEST_LEVEL}}", _COLOURS.get(line.level, "0"))
        time = "" if self.is_journal else self._painted(line.time, "2") + " "
        request = f" request_id={printable(line.request_id)}" if line.request_id is not None else ""
        first = f"{time}{level} {printable(line.logger)} {printable(line.message)}{request}"
        rest = (f"    {printable(each)}" for each in (line.trace or "").splitlines())
        mark = f"<{_PRIORITIES.get(line.level, 6)}>" if self.is_journal else ""
        return "".join(f"{mark}{text}\n" for text in (first, *rest))

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.has_colour else text


def _is_journal(stream: TextIO, announced: str) -> bool:
    """systemd names the device and inode of the socket that it gave; a stream that went elsewhere since is another."""
    device, _, inode = announced.partition(":")
    try:
        status = os.fstat(stream.fileno())
        return (status.st_dev, status.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):
        return False
