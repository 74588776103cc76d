"""Bringing the schema of a registry file up to date: which it has, a copy of the old one, and the migration."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import DatabaseError
from registry.index.docless import without_docstrings
from registry.index.migrations import HEAD

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# How long a writer waits for another process (a scan of thousands of folders is written in well under a second).
BUSY_TIMEOUT_S = 30.0
KEPT_BACKUPS = 2
_RETRY_S = 0.02
_MIGRATIONS = Path(__file__).parent / "migrations"


def bring_up_to_date(reader: sqlite3.Connection, path: Path) -> None:
    """Make or migrate the schema; an older one is copied aside first.

    Raises DatabaseError for the database of a newer slmreg or of another program.
    """
    version = schema_version(reader, path)
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise DatabaseError(
            f"The registry {path} was written by a newer slmreg (schema {version}, this one knows {HEAD}). "
            "Upgrade slmreg, or set SLMREG_HOME to use another registry."
        )
    _let_readers_and_writers_be(reader)
    if version is not None:
        _back_up(reader, path, version)
    _migrate(path)


def schema_version(reader: sqlite3.Connection, path: Path) -> str | None:
    """None for an empty file. Raises DatabaseError for somebody else's database."""
    tables = {row[0] for row in reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" in tables:
        row = reader.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row else None
    if tables:
        raise DatabaseError(
            f"{path} is a database of another program. Move it away, or set SLMREG_HOME to use another folder."
        )
    return None


def open_engine(path: Path, *pragmas: str) -> Engine:
    """Each transaction of it is the only one that can write, from its beginning on."""
    _import_sqlalchemy()
    from sqlalchemy import URL, NullPool, create_engine, event

    engine = create_engine(
        URL.create("sqlite", database=str(path)), poolclass=NullPool, connect_args={"timeout": BUSY_TIMEOUT_S}
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver's own transactions begin too late, see _on_begin
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # A transaction that starts as a reader cannot wait for its turn to write: it fails at once.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def backups_of(path: Path) -> list[Path]:
    """The copies that were made before migrations, oldest schema first."""
    return sorted(path.parent.glob(f"{path.name}.schema-[0-9][0-9][0-9][0-9]"))


def _back_up(reader: sqlite3.Connection, path: Path, version: str) -> None:
    target = path.with_name(f"{path.name}.schema-{version}")
    unfinished = path.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        with contextlib.closing(sqlite3.connect(unfinished)) as copy:
            reader.backup(copy)
            is_old = schema_version(copy, unfinished) == version
        if is_old:  # else another process has migrated it meanwhile, and made the copy
            unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    for superfluous in backups_of(path)[:-KEPT_BACKUPS]:
        superfluous.unlink(missing_ok=True)


def _let_readers_and_writers_be(reader: sqlite3.Connection) -> None:
    """Write-ahead logging, which the file remembers. SQLite does not wait for others here, so this does."""
    deadline_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            reader.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline_s:
                raise
            time.sleep(_RETRY_S)


def _migrate(path: Path) -> None:
    """To HEAD, in one transaction; another process that does the same waits, and then has nothing to do.

    Foreign keys are not enforced meanwhile, since tables are made anew, but checked at the end.
    """
    _import_sqlalchemy()  # with the tables, which env.py hands to Alembic
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with open_engine(path).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchone()
        if broken is not None:
            raise DatabaseError(f"The registry {path} cannot be migrated: a row of {broken[0]} leads nowhere.")


def _import_sqlalchemy() -> None:
    """What whoever writes needs of it."""
    with without_docstrings("sqlalchemy", "sqlmodel"):
        import sqlalchemy.dialects.sqlite  # noqa: F401

        import registry.index.tables  # noqa: F401
