"""A damaged registry file is put aside, a new one made, and what no scan can find again restored from the sidecar.

The models themselves are found again by the next scan; those that are pinned, or were checked or judged, wait for it as
MISSING, with their rows, ids and revisions. What was measured is lost, and measured again.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.errors import DatabaseError
from registry.index.database import DamagedFile, Database, file_identity, make_private_file, wal_of
from registry.index.schema import BUSY_TIMEOUT_S
from registry.index.sidecar import Keepsakes, read_sidecar, sidecar_of
from registry.index.state import State
from registry.index.writing import write_keepsakes

log = logging.getLogger("slmreg.registry")


@dataclass(frozen=True, slots=True)
class Recovery:
    """``kept`` is the damaged file under its new name, None where there was nothing left to keep.

    The numbers are what was restored.
    """

    kept: Path | None
    reason: str
    pins: int = 0
    roots: int = 0
    hints: int = 0
    allowed_libraries: int = 0
    verifications: int = 0
    evaluations: int = 0
    api_keys: int = 0
    presets: int = 0


def open_database(path: Path, *, damaged: DamagedFile | None = None) -> tuple[Database, Recovery | None]:
    """The registry file, or the one that takes the place of a damaged one. Raises DatabaseError.

    ``damaged`` is what was found wrong with the file as it was opened last.
    """
    if damaged is None:
        try:
            return _opened(path), None
        except DamagedFile as error:
            damaged = error
    with _alone(path):
        return _mended(path, damaged)


def kept_files(path: Path) -> list[Path]:
    """The damaged files that were put aside, oldest first."""
    found = path.parent.glob(f"{path.name}.damaged-*")
    return sorted(each for each in found if not each.name.endswith(("-wal", "-shm")))


def _opened(path: Path) -> Database:
    """Raises DamagedFile also for a file that is gone or empty while its sidecar is there."""
    if _is_empty(path) and sidecar_of(path).is_file():
        raise DamagedFile("the file is empty or gone")
    return Database(path)


def _mended(path: Path, damaged: DamagedFile) -> tuple[Database, Recovery | None]:
    reason = str(damaged)
    if damaged.identity is None or damaged.identity != file_identity(path):
        try:
            return _opened(path), None  # another process was faster
        except DamagedFile as error:
            reason = str(error)
    try:
        recovery = _rebuild(path, reason)
        database = Database(path)
    except (OSError, DamagedFile) as error:
        raise DatabaseError(
            f"The registry {path} is damaged ({reason}) and cannot be replaced: {error}. Stop other programs that use "
            "it, and check that its folder is writable and the disk not full."
        ) from error
    log.warning("registry.recovered kept=%s reason=%r pins=%d", recovery.kept, reason, recovery.pins)
    return database, recovery


def _rebuild(path: Path, reason: str) -> Recovery:
    """The new file is finished before the old one goes: whoever is cut off in between can do it again."""
    now_s = time.time()
    new = path.with_name(f"{path.name}.new")
    keepsakes = _restored(new, sidecar_of(path), now_s)
    kept = _put_aside(path, now_s)
    new.replace(path)
    state = keepsakes.state
    return Recovery(
        kept=kept,
        reason=reason,
        pins=len(state.stored_pins),
        roots=len(state.roots),
        hints=len(state.hints),
        allowed_libraries=len(state.libraries),
        verifications=len(keepsakes.verifications),
        evaluations=len(state.stored_evaluations),
        api_keys=len(state.keys),
        presets=len(state.presets),
    )


def _restored(new: Path, sidecar: Path, now_s: float) -> Keepsakes:
    """Make a registry with what is in the sidecar, or an empty one beside a sidecar that is of no use."""
    try:
        keepsakes = read_sidecar(sidecar, now_s=now_s)
        _make(new, keepsakes, now_s)
    except Exception as error:  # whatever is in that file, it keeps nobody from an empty registry
        log.warning("registry.sidecar_unusable path=%s error=%r", sidecar, str(error))
        with contextlib.suppress(OSError):
            sidecar.replace(_free_name(sidecar, now_s))
        keepsakes = Keepsakes(State(), {})
        _make(new, keepsakes, now_s)
    return keepsakes


def _make(new: Path, keepsakes: Keepsakes, now_s: float) -> None:
    for leftover in _files_of(new):
        leftover.unlink(missing_ok=True)
    with contextlib.closing(Database(new)) as database, database.transaction() as writing:
        write_keepsakes(writing.connection, keepsakes, now_s=now_s)
        writing.after = keepsakes.state


def _put_aside(path: Path, now_s: float) -> Path | None:
    """Its log goes with it: SQLite would take that for the new file's. None where there is nothing to keep."""
    if _is_empty(path):
        for file in _files_of(path):
            file.unlink(missing_ok=True)
        return None
    kept = _free_name(path, now_s)
    for old, new in zip(_files_of(path), _files_of(kept), strict=True):
        with contextlib.suppress(FileNotFoundError):
            old.replace(new)
    return kept


def _free_name(path: Path, now_s: float) -> Path:
    name = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now_s))}"
    names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
    return next(each for each in map(path.with_name, names) if not each.exists())


def _files_of(path: Path) -> tuple[Path, Path, Path]:
    return path, wal_of(path), path.with_name(f"{path.name}-shm")


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return True


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time. SQLite's own lock: it works everywhere, and ends with the process that holds it."""
    file = path.with_name(f"{path.name}.recovery")
    make_private_file(file)
    lock = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    with contextlib.closing(lock):
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            raise DatabaseError(f"The registry {path} is damaged, and cannot be replaced now: {error}.") from error
        yield
