"""The SQLite file: opening and migrating it, a consistent snapshot for readers, one transaction at a time for writers.

Readers use the standard library's sqlite3 and are cheap to start; SQLModel and Alembic are imported on the first write
or migration. Every sqlite3 and SQLAlchemy error leaves as DatabaseError.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import DatabaseError
from registry.migrations import HEAD
from registry.model import FolderProblem, Pin, Task
from registry.rows import StoredModel, folder_problem, stored_model

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlmodel import Session

# How long a writer waits for another process (a scan of thousands of folders is written in well under a second).
BUSY_TIMEOUT_S = 30.0
_RETRY_S = 0.02
_MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything in the database at one moment."""

    models: tuple[StoredModel, ...]
    problems: tuple[FolderProblem, ...]
    roots: tuple[Path, ...]
    pins: tuple[Pin, ...]
    pinned_keys: frozenset[int]
    scanned_at_s: float | None


class Database:
    """One open registry file. Safe to use from several threads, beside other processes."""

    def __init__(self, path: Path) -> None:
        """Opens ``path``, makes it if it is not there, and brings its schema up to date. Raises DatabaseError."""
        self.path = path
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._snapshot: tuple[int, Snapshot] | None = None
        with self._translated("opened"):
            _make_private_file(path)
            self._reader = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        self._reader.row_factory = sqlite3.Row
        try:
            with self._translated("opened"):
                self._bring_up_to_date()
        except BaseException:
            self._reader.close()
            raise

    def close(self) -> None:
        with self._reading:
            self._reader.close()
        if "_engine" in self.__dict__:
            self._engine.dispose()

    def snapshot(self) -> Snapshot:
        """What is in the database now; the same object for as long as nobody writes."""
        with self._reading, self._translated("read"):
            version = self._data_version()
            if self._snapshot is None or self._snapshot[0] != version:
                self._snapshot = (version, self._read())
            return self._snapshot[1]

    def generation(self) -> int:
        """A number that is another one after each write, by this process or another. Takes microseconds."""
        with self._reading, self._translated("read"):
            return self._data_version()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that nobody else can write beside; committed at the end, rolled back by an exception."""
        from sqlmodel import Session

        with self._writing, self._translated("written"), Session(self._engine) as session, session.begin():
            session.connection()  # BEGIN IMMEDIATE now, so that what is read from here on stays true
            yield session

    @cached_property
    def _engine(self) -> Engine:
        from sqlalchemy import NullPool, create_engine, event

        engine = create_engine(
            f"sqlite:///{self.path}", poolclass=NullPool, connect_args={"timeout": BUSY_TIMEOUT_S}, echo=False
        )

        @event.listens_for(engine, "connect")
        def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # the driver's own transactions begin too late, see _on_begin
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = NORMAL")

        @event.listens_for(engine, "begin")
        def _on_begin(connection: object) -> None:
            # A transaction that starts as a reader cannot wait for its turn to write: it fails at once.
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]

        return engine

    def _data_version(self) -> int:
        return int(self._reader.execute("PRAGMA data_version").fetchone()[0])

    def _read(self) -> Snapshot:
        self._reader.execute("BEGIN")
        try:
            rows = self._reader.execute
            models = tuple(stored_model(row) for row in rows("SELECT * FROM models ORDER BY path"))
            ids = {stored.key: stored.model.id for stored in models}
            pins = [(Task(task), key) for task, key in rows("SELECT task, model_key FROM pins ORDER BY task")]
            scan = rows("SELECT finished_at_s FROM scans").fetchone()
            return Snapshot(
                models=models,
                problems=tuple(folder_problem(row) for row in rows("SELECT * FROM folder_problems ORDER BY path")),
                roots=tuple(Path(row[0]) for row in rows("SELECT path FROM roots ORDER BY added_at_s, path")),
                pins=tuple(Pin(task, ids[key]) for task, key in pins),
                pinned_keys=frozenset(key for _task, key in pins),
                scanned_at_s=scan[0] if scan else None,
            )
        finally:
            self._reader.execute("ROLLBACK")

    def _bring_up_to_date(self) -> None:
        version = self._schema_version()
        if version == HEAD:
            return
        if version is not None and version > HEAD:
            raise DatabaseError(
                f"The registry {self.path} was written by a newer slmreg (schema {version}, this one knows {HEAD}). "
                "Upgrade slmreg, or set SLMREG_HOME to use another registry."
            )
        self._let_readers_and_writers_be()
        self._migrate()

    def _let_readers_and_writers_be(self) -> None:
        """Write-ahead logging, which the file remembers. SQLite does not wait for others here, so this does."""
        deadline_s = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._reader.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline_s:
                    raise
                time.sleep(_RETRY_S)

    def _schema_version(self) -> str | None:
        """None for an empty file. Raises DatabaseError for somebody else's database."""
        tables = {row[0] for row in self._reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" in tables:
            row = self._reader.execute("SELECT version_num FROM alembic_version").fetchone()
            return row[0] if row else None
        if tables:
            raise DatabaseError(
                f"{self.path} is a database of another program. Move it away, or set SLMREG_HOME to use another folder."
            )
        return None

    def _migrate(self) -> None:
        """To HEAD, in one transaction; another process that does the same waits, and then has nothing to do."""
        from alembic import command
        from alembic.config import Config

        import registry.tables  # noqa: F401 - registers the tables that env.py hands to Alembic

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise _database_error(self.path, verb, error) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] in ("sqlalchemy", "alembic"):
                raise _database_error(self.path, verb, getattr(error, "orig", None) or error) from error
            raise


def _database_error(path: Path, verb: str, error: BaseException) -> DatabaseError:
    reason = str(error)
    if "not a database" in reason or "malformed" in reason or "no such" in reason:
        advice = "The file is damaged: move it away, and run `slmreg scan` to index the models again."
    elif "locked" in reason:
        advice = "Another program holds it: stop that and try again."
    else:
        advice = "Check that its folder is there and writable and the disk is not full, or set SLMREG_HOME."
    return DatabaseError(f"The registry {path} cannot be {verb}: {reason}. {advice}")


def _make_private_file(path: Path) -> None:
    """The registry knows what its owner has: nobody else needs to read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
