"""Answers that are kept so that a later request can go on from them, in a SQLite file of their own.

Texts of prompts and answers stand in here and nowhere else on the disk, readable by their owner only: deleting the
file forgets them all. Invariants: never more than ``most`` answers or ``most_bytes`` of text once one was kept, the
oldest go first; nothing is given out after ``ttl_s``.
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

log = logging.getLogger("slmreg.conversations")

_SCHEMA = """
PRAGMA auto_vacuum = FULL;
CREATE TABLE IF NOT EXISTS answers (
    id TEXT PRIMARY KEY, previous TEXT, made_s REAL NOT NULL, items TEXT NOT NULL, answer TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_by_age ON answers (made_s);
"""
BUSY_TIMEOUT_S = 5.0


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

    def __init__(self, path: Path, bounds: Callable[[], Bounds], *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._bounds = bounds
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def keep(self, answer: Json, items: list[Json], previous: str | None) -> None:
        """Keep ``answer``, by its ``id``. What cannot be written is lost to later requests, and the log says so."""
        row = (answer["id"], previous, self._clock(), json.dumps(items), json.dumps(answer))
        try:
            with self._open() as file:
                file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", row)
                self._forget_old(file)
        except (sqlite3.Error, OSError) as error:
            log.warning("conversations.not_kept id=%s error=%s", answer["id"], error)

    def get(self, id: str) -> Kept | None:
        """None for what was never kept, is too old or was deleted."""
        with self._open_or_none() as file:
            return self._get(file, id) if file is not None else None

    def up_to(self, id: str, *, most: int) -> list[Kept] | None:
        """The whole conversation that ends with ``id``, the first turn first; None if a part of it is gone.

        A conversation of more than ``most`` turns counts as gone.
        """
        turns: list[Kept] = []
        wanted: str | None = id
        with self._open_or_none() as file:
            while wanted is not None:
                kept = self._get(file, wanted) if file is not None and len(turns) < most else None
                if kept is None:
                    return None
                turns.append(kept)
                wanted = kept.previous
        return turns[::-1]

    def delete(self, id: str) -> bool:
        """Whether it was there."""
        with self._open_or_none() as file:
            return file is not None and file.execute("DELETE FROM answers WHERE id = ?", (id,)).rowcount > 0

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _get(self, file: sqlite3.Connection, id: str) -> Kept | None:
        query = "SELECT answer, items, previous FROM answers WHERE id = ? AND made_s > ?"
        row = file.execute(query, (id, self._clock() - self._bounds().ttl_s)).fetchone()
        return Kept(json.loads(row[0]), json.loads(row[1]), row[2]) if row is not None else None

    def _forget_old(self, file: sqlite3.Connection) -> None:
        bounds = self._bounds()
        file.execute("DELETE FROM answers WHERE made_s <= ?", (self._clock() - bounds.ttl_s,))
        sizes = file.execute("SELECT id, length(items) + length(answer) FROM answers ORDER BY made_s DESC").fetchall()
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
            raise
        return connection
