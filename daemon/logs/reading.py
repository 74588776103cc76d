"""Reading the log files again: their last lines, and what is added to them, across the moments when one is put aside.

Invariant: whoever writes is never disturbed, and need not run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from daemon.logs.file import numbered, rotated
from daemon.logs.line import LEVELS, Line, from_json

POLL_S = 0.2
# A line is bounded when it is written; more without an end is no line of ours.
_MAX_PENDING_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: of at least this ``level``, not older than ``since_s`` (Unix time), of this request."""

    level: str = LEVELS[0]
    since_s: float | None = None
    request_id: str | None = None

    def takes(self, line: Line) -> bool:
        is_late = self.since_s is None or line.time_s >= self.since_s
        is_of_request = self.request_id is None or line.request_id == self.request_id
        return is_late and is_of_request and LEVELS.index(self.level) <= _severity(line.level)


def last_lines(path: Path, wanted: Wanted, most: int) -> list[Line]:
    """The last ``most`` lines of all files, oldest first. Raises OSError if one is there and cannot be read."""
    found: list[Line] = []
    for each in (path, *(old for _number, old in numbered(path))):
        if len(found) >= most:
            break
        lines = [line for line in _lines(_content(each)) if wanted.takes(line)]
        found[:0] = lines[max(0, len(lines) - (most - len(found))) :]
    return found


class Tail:
    """What is added to the log from now on. Close it, or use it as a context."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open(path)
        self._pending = b""
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def follow(self, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[Line]:
        """Lines as they come, for ever."""
        while True:
            yield from self.take()
            sleep(POLL_S)

    def take(self) -> Iterator[Line]:
        """The lines that have come since the last time, also in files that were put aside since."""
        yield from self._rest()
        for later in self._later():
            if self._file is not None:
                yield from self._rest()  # what came before it was put aside
                self._file.close()
            self._pending = b""
            self._file = later
            yield from self._rest()

    def _rest(self) -> Iterator[Line]:
        """Whole lines of the open file; half of one is kept for the next time."""
        if self._file is None:
            return
        *whole, rest = (self._pending + self._file.read()).split(b"\n")
        self._pending = rest if len(rest) <= _MAX_PENDING_BYTES else b""
        yield from _lines(whole)

    def _later(self) -> list[BinaryIO]:
        """The files after the open one, oldest first, opened. None while that is the newest.

        They are opened before they are read: each may be put aside meanwhile, or taken away.
        """
        ours = os.fstat(self._file.fileno()) if self._file is not None else None
        later: list[BinaryIO] = []
        number = 0
        while (file := _open(rotated(self._path, number))) is not None:
            status = os.fstat(file.fileno())
            if ours is not None and (status.st_dev, status.st_ino) == (ours.st_dev, ours.st_ino):
                file.close()
                break
            later.insert(0, file)
            number += 1
            if ours is None:
                break  # there was none: the newest is where it begins
        return later


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb", buffering=0)  # type: ignore[return-value]
    except FileNotFoundError:
        return None


def _content(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []


def _lines(texts: list[bytes]) -> Iterator[Line]:
    return (line for text in texts if (line := from_json(text)) is not None)


def _severity(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else 0
