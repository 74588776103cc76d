"""The state of the registry's own files, looked at from outside: nothing is opened for writing, nothing is repaired."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from registry.index.migrations import HEAD

_MAX_ERRORS = 5


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """``schema`` is None where there is no registry yet. ``damage`` is what SQLite itself finds wrong.

    ``size_bytes`` counts the write-ahead log.
    """

    path: Path
    schema: str | None
    size_bytes: int
    damage: tuple[str, ...] = ()

    @property
    def is_current(self) -> bool:
        """Whether the schema is the one that this version of slmreg makes."""
        return self.schema == HEAD


def examine_database(path: Path) -> DatabaseHealth:
    """Takes as long as reading the whole file. Raises nothing: what cannot be read is damage."""
    files = [path.with_name(f"{path.name}{suffix}") for suffix in ("", "-wal")]
    try:
        size_bytes = sum(file.stat().st_size for file in files if file.exists())
        if not files[0].exists() or size_bytes == 0:
            return DatabaseHealth(path, None, 0)
    except OSError as error:
        return DatabaseHealth(path, None, 0, (error.strerror or str(error),))
    try:
        with closing(sqlite3.connect(f"file:{quote(path.as_posix())}?mode=ro", uri=True)) as connection:
            lines = [str(row[0]) for row in connection.execute(f"PRAGMA quick_check({_MAX_ERRORS})")]
            damage = tuple(line for line in lines if line != "ok")
            return DatabaseHealth(path, _schema(connection), size_bytes, damage)
    except sqlite3.Error as error:
        return DatabaseHealth(path, None, size_bytes, (str(error),))


def _schema(connection: sqlite3.Connection) -> str | None:
    has_table = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if has_table else None
    return str(row[0]) if row else None
