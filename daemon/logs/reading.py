"""Reading the log files again: their last lines, and what is added to them, across the moments when one is put aside.

Invariant: whoever writes need not run, and no line is read twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Self

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


class LogReader:
    """``last`` first, then ``follow`` from there. Close it, or use it as a context. All raise OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Without the newest: it has just been put aside, or nothing was logged yet.
        self._file = _open(path) or _open(rotated(path, 1))
        self._pending = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def last(self, wanted: Wanted, most: int) -> list[Line]:
        """The last ``most`` lines of all files, oldest first."""
        found: list[Line] = []
        for lines in self._backwards():
            fitting = [line for line in lines if wanted.takes(line)]
            found[:0] = fitting[max(0, len(fitting) - (most - len(found))) :]
            if len(found) >= most:
                break
        return found

    def follow(self, wanted: Wanted, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[Line]:
        """Lines as they come, for ever."""
        while True:
            yield from filter(wanted.takes, self.take())
            sleep(POLL_S)

    def take(self) -> Iterator[Line]:
        """The lines that have come since the last time, also in files that were put aside since."""
        yield from self._rest()
        for later in self._later():
            yield from self._rest()  # what came before it was put aside
            if self._file is not None:
                self._file.close()
            self._file, self._pending = later, b""
            yield from self._rest()

    def _backwards(self) -> Iterator[Iterator[Line]]:
        """The lines of each file, newest file first."""
        yield self._rest()
        ours = _identity(self._file) if self._file is not None else None
        for _number, path in numbered(self._path):
            file = _open(path)
            if file is not None:
                with file:
                    if _identity(file) != ours:
                        yield _lines(file.read().split(b"\n"))

    def _rest(self) -> Iterator[Line]:
        """Whole lines of the open file; half of one is kept for the next time."""
        if self._file is None:
            return
        *whole, rest = (self._pending + self._file.read()).split(b"\n")
        self._pending = rest if len(rest) <= _MAX_PENDING_BYTES else b""
        yield from _lines(whole)

    def _later(self) -> list[FileIO]:
        """The files that are newer than the open one, oldest first. Opened: they may be put aside meanwhile."""
        seen = {_identity(self._file)} if self._file is not None else set()
        ours = frozenset(seen)
        later: list[FileIO] = []
        number = 0
        while (file := _open(rotated(self._path, number))) is not None and _identity(file) not in ours:
            number += 1
            if _identity(file) in seen:  # put aside since it was opened
                file.close()
                continue
            seen.add(_identity(file))
            later.insert(0, file)
        if file is not None:
            file.close()
        return later


def _open(path: Path) -> FileIO | None:
    try:
        return FileIO(path)
    except FileNotFoundError:
        return None


def _identity(file: FileIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino


def _lines(texts: list[bytes]) -> Iterator[Line]:
    return (line for text in texts if (line := from_json(text)) is not None)


def _severity(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else 0
