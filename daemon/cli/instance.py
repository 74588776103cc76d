"""One daemon for each home: a lock that the operating system lets go of however its process ends.

Beside the run file, which says where a daemon that answers is, the lock's file says who holds it, also while it starts
and when it hangs. What is written there counts only as long as the lock is held, so a stale one is no obstacle.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon.cli.daemon_link import find_daemon
from registry.errors import DaemonAlreadyRunning, SettingsError

# Far behind what is written: Windows lets nobody read what is locked.
_LOCKED_BYTE = 1 << 30
_MAX_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Instance:
    """Ours: nobody else serves this home."""

    descriptor: int

    def is_at(self, url: str | None) -> None:
        """Leave word for those who come and find the lock held; without room on the disk they get none."""
        said = json.dumps({"pid": os.getpid(), "url": url}).encode()
        with contextlib.suppress(OSError):
            os.lseek(self.descriptor, 0, os.SEEK_SET)
            os.ftruncate(self.descriptor, 0)
            os.write(self.descriptor, said)


@contextlib.contextmanager
def sole_instance(run_file: Path) -> Iterator[Instance]:
    """Raises DaemonAlreadyRunning, which says where, and SettingsError where the home cannot be written."""
    lock_file = run_file.with_suffix(".lock")
    try:
        lock_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(
            f"{lock_file} cannot be written: {error.strerror}. slmreg keeps its registry there: make that folder "
            "writable, or set SLMREG_HOME to one that is."
        ) from error
    try:
        if not _try_lock(descriptor):
            raise DaemonAlreadyRunning(_who(run_file, lock_file))
        running = find_daemon(run_file)  # where a file system has no locks, this is all that there is
        if running is not None and running.pid != os.getpid():
            raise DaemonAlreadyRunning(f"slmreg already runs at {running.url} (pid {running.pid}).")
        instance = Instance(descriptor)
        instance.is_at(None)
        yield instance
    finally:
        os.close(descriptor)


def _who(run_file: Path, lock_file: Path) -> str:
    running = find_daemon(run_file)
    if running is not None:
        return f"slmreg already runs at {running.url} (pid {running.pid})."
    try:
        said = json.loads(lock_file.read_text(encoding="utf-8")[:_MAX_CHARACTERS])
        pid, url = int(said["pid"]), said["url"]
    except (OSError, ValueError, KeyError, TypeError):  # it has the lock, and has said nothing yet
        return "slmreg is just starting here. `slmreg status` says where it runs, when it does."
    if url is None:
        return f"slmreg is just starting here (pid {pid}). `slmreg status` says where it runs, when it does."
    return f"slmreg already runs at {url} (pid {pid}), but does not answer. End that process to start another one."


def _try_lock(descriptor: int) -> bool:
    """False if another process has it. A file system that knows no locks gives it to everybody."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
