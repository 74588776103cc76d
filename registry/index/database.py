"""The SQLite file: opening and migrating it, the present state for readers, one transaction at a time for writers.

Readers use the standard library's sqlite3 and are cheap to start; SQLAlchemy and Alembic are imported on the first
write or migration. Every sqlite3 and SQLAlchemy error leaves as DatabaseError, or as DamagedFile where the file itself
is broken; ``registry.index.recovery`` deals with that.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import DatabaseError
from registry.experience import EngineProof, Measurement, Tuning
from registry.index.rows import Sharing
from registry.index.schema import BUSY_TIMEOUT_S, bring_up_to_date, open_engine
from registry.index.snapshot import read_engine_proofs, read_measurements, read_state, read_tunings, read_verification
from registry.index.state import State
from registry.model import Verification

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# PRAGMA user_version is a signed 32-bit number.
_WRITE_NUMBERS = 2**31
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DamagedFile(Exception):
    """The file is no database, or one with broken pages. Never leaves the package.

    ``identity`` is that of the file which was open when it was found out.
    """

    identity: tuple[int, int] | None = None


@dataclass(slots=True)
class Writing:
    """One transaction: ``before`` stays true in it.

    Who changes something says so: by setting ``after``, or, of what is no part of a state, ``is_aside``.
    """

    connection: Connection
    before: State
    after: State | None = None
    is_aside: bool = False

    @property
    def now(self) -> State:
        """With what this transaction has changed so far."""
        return self.after or self.before


class Database:
    """One open registry file. Safe to use from several threads, beside other processes."""

    def __init__(self, path: Path) -> None:
        """Opens ``path``, makes it if it is not there, and brings its schema up to date.

        Raises DatabaseError, and DamagedFile.
        """
        self.path = path
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._sharing = Sharing()
        with self._translated("opened"):
            make_private_file(path)
            # A log that is left over: somebody is at it right now, or was cut off.
            is_unclean = _size_bytes(wal_of(path)) > 0
            self.identity = file_identity(path)
            self._reader = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        self._reader.row_factory = sqlite3.Row
        try:
            with self._translated("opened"):
                if is_unclean:
                    self._check()
                bring_up_to_date(self._reader, path)
                self._version, self._number, self._state = self._read()
        except BaseException as error:
            self._reader.close()
            if isinstance(error, DamagedFile):
                error.identity = self.identity
            raise

    def close(self) -> None:
        with self._writing, self._reading:
            self._reader.close()
            if "_engine" in self.__dict__:
                self._engine.dispose()

    def is_replaced(self) -> bool:
        """Whether another process has put a new file into the place of this one. Takes microseconds."""
        return file_identity(self.path) != self.identity

    def state(self) -> State:
        """What is in the database now; the same object for as long as nobody writes."""
        with self._reading, self._translated("read"):
            version = self._data_version()
            if version != self._version:
                if self._write_number() != self._number:
                    version, self._number, self._state = self._read()
                self._version = version
            return self._state

    def verification(self, key: int) -> Verification | None:
        with self._reading, self._translated("read"):
            return read_verification(self._reader, key)

    def measurements(self) -> tuple[Measurement, ...]:
        """Read anew each time: they are few, and change more often than anything else."""
        with self._reading, self._translated("read"):
            return read_measurements(self._reader)

    def engine_proofs(self) -> tuple[EngineProof, ...]:
        """Read anew each time, as ``measurements`` are."""
        with self._reading, self._translated("read"):
            return read_engine_proofs(self._reader)

    def tunings(self) -> tuple[Tuning, ...]:
        """Read anew each time, as ``measurements`` are."""
        with self._reading, self._translated("read"):
            return read_tunings(self._reader)

    @contextmanager
    def transaction(self) -> Iterator[Writing]:
        """Nobody else can write meanwhile; committed at the end if something changed, rolled back by an exception."""
        with self._writing, self._translated("written"), self._engine.connect() as connection:
            transaction = connection.begin()
            writing = Writing(connection, self.state())
            yield writing
            if writing.after is None:
                if writing.is_aside:  # under the same number, so that nobody reads thousands of models again
                    transaction.commit()
                return
            number = (self._number + 1) % _WRITE_NUMBERS
            connection.exec_driver_sql(f"PRAGMA user_version = {number}")
            with self._reading:
                transaction.commit()
                self._number, self._state = number, writing.after

    @property
    def sharing(self) -> Sharing:
        """What the models of ``state`` have in common."""
        return self._sharing

    @cached_property
    def _engine(self) -> Engine:
        return open_engine(self.path, "foreign_keys = ON", "synchronous = NORMAL")

    def _data_version(self) -> int:
        """Another number after each write by another connection, so by our own transactions too."""
        return int(self._reader.execute("PRAGMA data_version").fetchone()[0])

    def _write_number(self) -> int:
        return int(self._reader.execute("PRAGMA user_version").fetchone()[0])

    def _read(self) -> tuple[int, int, State]:
        """Data version, number of the last write, and everything, of one moment."""
        self._sharing = Sharing()
        self._reader.execute("BEGIN")
        try:
            number = self._write_number()  # the first read: what follows is of the same moment
            return self._data_version(), number, read_state(self._reader, self._sharing)
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedFile(f"a row makes no sense: {error}") from error
        finally:
            self._reader.execute("ROLLBACK")

    def _check(self) -> None:
        (answer,) = self._reader.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise DamagedFile(str(answer))

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._translation(verb, error) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] in ("sqlalchemy", "alembic"):
                raise self._translation(verb, getattr(error, "orig", None) or error) from error
            raise

    def _translation(self, verb: str, error: BaseException) -> Exception:
        reason = str(error)
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED or "no such table" in reason:
            return DamagedFile(reason)
        if "locked" in reason:
            advice = "Another program holds it: stop that and try again."
        else:
            advice = "Check that its folder is there and writable and the disk is not full, or set SLMREG_HOME."
        return DatabaseError(f"The registry {self.path} cannot be {verb}: {reason}. {advice}")


def wal_of(path: Path) -> Path:
    """SQLite's log of what is not yet in the file itself."""
    return path.with_name(f"{path.name}-wal")


def make_private_file(path: Path) -> None:
    """The registry knows what its owner has, and who may use it: nobody else may read it, nor what lies beside it.

    A directory that is there already stays as it is: it may hold more than ours.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    if path.stat().st_mode & 0o077 and os.name != "nt":
        with contextlib.suppress(PermissionError):  # it belongs to somebody else, who lets us write
            path.chmod(0o600)


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def file_identity(path: Path) -> tuple[int, int] | None:
    """Another one when another file takes the place of this one; None without a file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
