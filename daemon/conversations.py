"""Answers that are kept so that a later request can go on from them, in a SQLite file of their own.

Texts of prompts and answers stand in here and nowhere else on the disk, readable by their owner only: deleting the
file forgets them all. Invariants: never more than ``most`` answers or ``most_bytes`` of text once one was kept, the
oldest go first; nothing is given out after ``ttl_s``. What cannot be written, on a full disk, waits in memory until it
can.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon.shapes import Json
from daemon.unwritten import Unwritten

log = logging.getLogger("slmreg.conversations")

_SCHEMA = """
PRAGMA auto_vacuum = FULL;
CREATE TABLE IF NOT EXISTS answers (
    id TEXT PRIMARY KEY, previous TEXT, made_s REAL NOT NULL, items TEXT NOT NULL, answer TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_by_age ON answers (made_s);
"""
BUSY_TIMEOUT_S = 5.0
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Text that waits in memory; beyond it the oldest answers are lost to later requests (judged).
MAX_PENDING_BYTES = 32 * 1024 * 1024

# id, previous, when it was made (Unix time), items, answer: as the table has them.
_Row = tuple[str, str | None, float, str, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer and the input that it was given, both as the API tells them; what came before is ``previous``."""

    answer: Json
    items: list[Json]
    previous: str | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept, and for how long."""

    most: int
    most_bytes: int
    ttl_s: float


class Conversations:
    """Safe to use from several threads. The file is made when the first answer is kept."""

    def __init__(
        self,
        path: Path,
        bounds: Callable[[], Bounds],
        *,
        clock: Callable[[], float] = time.time,
        unwritten: Unwritten | None = None,
    ) -> None:
        """``unwritten`` is told of what has to wait."""
        self._path = path
        self._bounds = bounds
        self._unwritten = unwritten or Unwritten()
        self._pending: dict[str, _Row] = {}
        self._clock = clock
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def keep(self, answer: Json, items: list[Json], previous: str | None) -> None:
        """Keep ``answer``, by its ``id``: if it cannot be written now, then in memory, and ``write_pending`` tries."""
        row = (answer["id"], previous, self._clock(), json.dumps(items), json.dumps(answer))
        with self._lock:
            self._pending[row[0]] = row
        self.write_pending()

    def write_pending(self) -> None:
        """Write what is not written yet, if anything is."""
        with self._lock:
            if not self._pending:
                return
            try:
                with self._open() as file:
                    file.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", self._pending.values())
                    self._forget_old(file)
            except (sqlite3.Error, OSError) as error:
                self._unwritten.failed("conversations", error)
                self._bound_pending()
            else:
                self._pending.clear()
                self._unwritten.worked("conversations")

    def _bound_pending(self) -> None:
        sizes = {id: len(row[3]) + len(row[4]) for id, row in self._pending.items()}
        total = sum(sizes.values())
        for id, size in sizes.items():
            if total > MAX_PENDING_BYTES or len(self._pending) > self._bounds().most:
                log.warning("conversations.not_kept id=%s", id)
                del self._pending[id]
                total -= size

    def get(self, id: str) -> Kept | None:
        """None for what was never kept, is too old or was deleted."""
        with self._open_or_none() as file:
            return self._get(file, id)

    def up_to(self, id: str, *, most: int) -> list[Kept] | None:
        """The whole conversation that ends with ``id``, the first turn first; None if a part of it is gone.

        A conversation of more than ``most`` turns counts as gone.
        """
        turns: list[Kept] = []
        wanted: str | None = id
        with self._open_or_none() as file:
            while wanted is not None:
                kept = self._get(file, wanted) if len(turns) < most else None
                if kept is None:
                    return None
                turns.append(kept)
                wanted = kept.previous
        return turns[::-1]

    def delete(self, id: str) -> bool:
        """Whether it was there."""
        with self._lock, self._open_or_none() as file:
            was_pending = self._pending.pop(id, None) is not None
            is_gone = file is not None and file.execute("DELETE FROM answers WHERE id = ?", (id,)).rowcount > 0
            return is_gone or was_pending

    def close(self) -> None:
        self.write_pending()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _get(self, file: sqlite3.Connection | None, id: str) -> Kept | None:
        row = self._pending.get(id)
        if row is None and file is not None:
            row = file.execute("SELECT id, previous, made_s, items, answer FROM answers WHERE id = ?", (id,)).fetchone()
        if row is None or row[2] <= self._clock() - self._bounds().ttl_s:
            return None
        return Kept(json.loads(row[4]), json.loads(row[3]), row[1])

    def _forget_old(self, file: sqlite3.Connection) -> None:
        """Those of the future count as the oldest: the clock was wrong when they were made, and is set back."""
        bounds, now_s = self._bounds(), self._clock()
        file.execute("DELETE FROM answers WHERE made_s <= ?", (now_s - bounds.ttl_s,))
        query = "SELECT id, length(items) + length(answer) FROM answers ORDER BY made_s > ?, made_s DESC"
        sizes = file.execute(query, (now_s,)).fetchall()
        total = 0
        for count, (id, size) in enumerate(sizes, start=1):
            total += size
            if count > bounds.most or total > bounds.most_bytes:
                file.execute("DELETE FROM answers WHERE id = ?", (id,))

    @contextlib.contextmanager
    def _open_or_none(self) -> Iterator[sqlite3.Connection | None]:
        """None where nothing was ever kept, so that asking makes no file, or where it cannot be read."""
        if self._connection is None and not self._path.exists():
            yield None
            return
        try:
            with self._open() as file:
                yield file
        except (sqlite3.Error, OSError) as error:
            log.warning("conversations.not_read error=%s", error)
            raise

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A transaction."""
        with self._lock:
            if self._connection is None:
                self._connection = self._connected()
            with self._connection:
                yield self._connection

    def _connected(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in _DAMAGED:  # a full disk, or another program that holds it
                raise
            aside = self._path.with_name(f"{self._path.name}.damaged")
            log.warning("conversations.damaged error=%s moved_to=%s", error, aside.name)
            self._path.replace(aside)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError:
            connection.close()
            if self._path.stat().st_size == 0:  # there was no room for anything in it
                self._path.unlink()
            raise
        return connection
