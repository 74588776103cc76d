"""``Door``: the way to the registry file that is there now, through damage and replacement, with its sidecar."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from registry.errors import DatabaseError
from registry.index.database import DamagedFile, Database, Writing
from registry.index.recovery import open_database
from registry.index.sidecar import has_news, save_sidecar, sidecar_of
from registry.index.state import State
from registry.index.writing import read_verifications

_T = TypeVar("_T")


class Door:
    """Safe to use from several threads. ``recovered`` tells of the last damage, None if there was none."""

    def __init__(self, path: Path) -> None:
        """Raises DatabaseError."""
        self._database, self.recovered = open_database(path)
        self._reopening = threading.Lock()
        self._is_broken = False
        self._is_sidecar_current = False

    def close(self) -> None:
        self._database.close()

    def state(self) -> State:
        return self.safely(Database.state)

    def write(self, change: Callable[[Writing], _T]) -> _T:
        """``change`` in one transaction; it may be called a second time, in another file, if the first is damaged."""

        def work(database: Database) -> _T:
            with self.transaction(database) as writing:
                return change(writing)

        return self.safely(work)

    @contextmanager
    def transaction(self, database: Database) -> Iterator[Writing]:
        """One that takes the sidecar along."""
        with database.transaction() as writing:
            yield writing
            if writing.after is None or (self._is_sidecar_current and not has_news(writing.before, writing.after)):
                return
            checks = read_verifications(writing.connection)
            self._is_sidecar_current = save_sidecar(sidecar_of(database.path), writing.after, checks)

    def safely(self, work: Callable[[Database], _T]) -> _T:
        """``work`` with the file that is there now, and once more with the one that takes a damaged one's place."""
        database = self._database
        if self._is_broken or database.is_replaced():
            database = self._reopened(database)
        try:
            return work(database)
        except DamagedFile as error:
            error.identity = database.identity
            database = self._reopened(database, error)
        except DatabaseError:
            with self._reopening:
                if database is self._database:
                    raise
                database = self._database  # another thread has closed the one that this one was using
        try:
            return work(database)
        except DamagedFile as error:
            raise DatabaseError(f"The registry {database.path} is damaged again and again: {error}.") from error

    def _reopened(self, old: Database, damaged: DamagedFile | None = None) -> Database:
        with self._reopening:
            if self._database is old:
                self._is_broken = True
                old.close()
                self._database, recovered = open_database(old.path, damaged=damaged)
                self.recovered = recovered or self.recovered
                self._is_broken = self._is_sidecar_current = False
            return self._database
