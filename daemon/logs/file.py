"""``LogFile``: the lines of the log in a file for its owner alone, which is put aside when it is full.

Invariant: ``files`` of about ``max_bytes`` are all there ever is: ``slmreg.jsonl`` is the newest, ``slmreg.jsonl.1``
the one before it. A line is never torn by another one that is written later.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


class LogFile:
    """Opened with the first line, and again when somebody has taken it away."""

    def __init__(self, path: Path, *, max_bytes: int, files: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._files = files
        self._descriptor: int | None = None
        self._size = 0
        self._is_torn = False

    def write(self, lines: Iterable[str]) -> None:
        """Raises OSError; what was written before that stays."""
        self._open()
        for batch in self._batches(f"{line}\n".encode() for line in lines):
            self._append(batch)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _batches(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """As many lines at once as the file has room for, with another file where it is full."""
        batch = bytearray()
        for line in lines:
            if self._size + len(batch) + len(line) > self._max_bytes and self._size + len(batch) > 0:
                yield bytes(batch)
                batch.clear()
                self._rotate()
            batch += line
        yield bytes(batch)

    def _append(self, data: bytes) -> None:
        if self._descriptor is None:
            raise OSError("the log file is not open")
        rest = memoryview(b"\n" + data if self._is_torn else data)
        while rest:
            self._is_torn = True  # until all of it is there
            written = os.write(self._descriptor, rest)
            self._size += written
            rest = rest[written:]
        self._is_torn = False

    def _open(self) -> None:
        if self._descriptor is not None and self._is_still_there(self._descriptor):
            return
        self.close()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Windows: as it is, without changing the ends of lines.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(self.path, flags, 0o600)
        self.path.chmod(0o600)  # one that was there before, too
        self._size = os.fstat(self._descriptor).st_size
        self._remove_surplus()

    def _is_still_there(self, descriptor: int) -> bool:
        try:
            there, ours = self.path.stat(), os.fstat(descriptor)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _rotate(self) -> None:
        self.close()
        try:
            self._put_aside()
        except OSError:
            # Windows: not while somebody reads it. There will be another moment.
            if self._size >= 2 * self._max_bytes:
                raise
        self._open()

    def _put_aside(self) -> None:
        for number in range(self._files - 1, 0, -1):
            before = rotated(self.path, number - 1)
            if before.exists():
                before.replace(rotated(self.path, number))
        if self._files == 1:
            self.path.unlink(missing_ok=True)

    def _remove_surplus(self) -> None:
        """There may have been more of them before."""
        for number, path in numbered(self.path):
            if number >= self._files:
                path.unlink(missing_ok=True)


def rotated(path: Path, number: int) -> Path:
    """The file that was put aside ``number`` times; 0 is the one that is written to."""
    return path.with_name(f"{path.name}.{number}") if number else path


def numbered(path: Path) -> list[tuple[int, Path]]:
    """The files that were put aside, newest first, with their numbers. Raises OSError if the folder cannot be read."""
    found = ((each.name.removeprefix(f"{path.name}."), each) for each in path.parent.glob(f"{path.name}.*"))
    return sorted((int(number), each) for number, each in found if number.isdecimal() and int(number) > 0)
