"""``Watches``: which roots are watched, and how. Whatever cannot be watched natively, or no longer, is polled."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from registry.files.mounts import polling_reason
from registry.watching.inotify import is_out_of_watches
from registry.watching.observers import NativeObserver
from registry.watching.polling import FolderPoll

log = logging.getLogger("slmreg.watch")

# Called with a root, a folder under it in which something happened, and whether that folder itself came or went.
OnChange = Callable[[Path, str, bool], object]

# Native watching that was refused or failed is tried again after this long.
_RETRY_S = 600.0
# Linux drops events when 16,384 wait for us (fs.inotify.max_queued_events); watchdog 7.1 then sets up its watches anew,
# which with more folders than that overflows again, without end. One event here can be three of the kernel's.
_SUSPICIOUS_EVENTS = 4000
# More failures than this within _RETRY_S, and polling is the better choice.
_MAX_FAILURES = 5
_OUT_OF_WATCHES = "there are more folders than Linux may watch for this user; raise fs.inotify.max_user_watches"
_REFUSALS = {
    errno.ENOSPC: _OUT_OF_WATCHES,
    errno.EMFILE: "too many programs of this user watch files; raise fs.inotify.max_user_instances",
}


class WatchMethod(StrEnum):
    NATIVE = "native"
    POLLING = "polling"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class WatchState:
    """How one root is watched; ``reason`` says why not natively."""

    path: Path
    method: WatchMethod
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class System:
    """What the operating system can do."""

    observer: Callable[[], NativeObserver] = NativeObserver
    polling_reason: Callable[[Path], str | None] = polling_reason
    is_out_of_watches: Callable[[], bool] = is_out_of_watches


THIS_SYSTEM = System()

# Device and inode of the directory at a path; another one after it was deleted and made again, or mounted over.
_Identity = tuple[int, int]
_LOST: _Identity = (-1, -1)


@dataclass(frozen=True, slots=True)
class _Watched:
    """``retry_s``: when native watching is to be tried again, if at all."""

    state: WatchState
    identity: _Identity | None = None
    retry_s: float = float("inf")
    stop: Callable[[], object] = bool
    is_alive: Callable[[], bool] = lambda: True

    def is_of(self, identity: _Identity | None) -> bool:
        if identity is None or self.identity is None:
            return identity is self.identity
        # Some network and FUSE file systems invent a new inode number each time.
        count = 1 if self.state.method is WatchMethod.POLLING else 2
        return identity[:count] == self.identity[:count]


class Watches:
    """The watches of some roots. All but the calls of ``on_change`` happens in the thread of whoever calls."""

    def __init__(self, on_change: OnChange, *, poll_s: float, system: System = THIS_SYSTEM) -> None:
        self._on_change = on_change
        self._poll_s = poll_s
        self._system = system
        self._observer: NativeObserver | None = None
        self._watched: dict[Path, _Watched] = {}
        self._grown: set[Path] = set()
        self._failed_s: list[float] = []
        self._events = 0

    @property
    def states(self) -> tuple[WatchState, ...]:
        return tuple(watched.state for watched in list(self._watched.values()))

    @property
    def is_healthy(self) -> bool:
        """False if a watch has ended by itself; ``follow`` mends it."""
        return all(watched.is_alive() for watched in self._watched.values())

    def follow(self, roots: Iterable[Path]) -> tuple[Path, ...]:
        """Watch exactly these roots, without gaps for those that are watched already.

        Returns the roots that came, went or were replaced since the last call, or whose changes may have been missed.
        """
        wanted = tuple(dict.fromkeys(roots))
        for root in [root for root in self._watched if root not in wanted]:
            self._watched.pop(root).stop()
        self._mend()
        changed = tuple(root for root in wanted if self._follow_one(root))
        self._leave_exhausted()
        return changed

    def rest(self) -> None:
        """To be called when all is quiet. After so many events that some may be lost, ``follow`` starts over."""
        if self._events >= _SUSPICIOUS_EVENTS:
            log.info("watch.renewed events=%d", self._events)
            self._close_observer()
        self._events = 0

    def close(self) -> None:
        for watched in self._watched.values():
            if watched.state.method is WatchMethod.POLLING:
                watched.stop()
        self._watched.clear()
        self._close_observer()

    def _mend(self) -> None:
        if self._observer is not None and not self._observer.is_alive:
            self._close_observer()
            now_s = time.monotonic()
            self._failed_s = [*(failed_s for failed_s in self._failed_s if now_s - failed_s < _RETRY_S), now_s]
            log.warning("watch.failed times=%d; starting again", len(self._failed_s))
        for root, watched in self._watched.items():
            if not watched.is_alive():
                watched.stop()
                self._watched[root] = replace(watched, identity=_LOST)

    def _close_observer(self) -> None:
        if self._observer is not None:
            self._observer.close()
            self._observer = None

    def _follow_one(self, root: Path) -> bool:
        identity = _identity(root)
        before = self._watched.get(root)
        if before is not None and before.is_of(identity) and time.monotonic() < before.retry_s:
            return False
        if before is not None:
            before.stop()
        self._watched[root] = self._watch(root, identity)
        self._tell(before, self._watched[root])
        return before is not None or identity is not None

    def _watch(self, root: Path, identity: _Identity | None) -> _Watched:
        if identity is None:
            return _Watched(WatchState(root, WatchMethod.ABSENT, "there is no such folder at the moment"))
        reason = self._system.polling_reason(root)
        if reason is None and not os.access(root, os.R_OK | os.X_OK):
            reason = "it may not be read"
        if reason is not None:
            return self._poll(root, identity, reason)
        if len(self._failed_s) > _MAX_FAILURES:
            reason = f"the operating system's watcher failed {len(self._failed_s)} times"
            return self._poll(root, identity, reason, retry_s=self._failed_s[-1] + _RETRY_S)
        try:
            return self._watch_natively(root, identity)
        except (OSError, RuntimeError) as error:
            reason = _REFUSALS.get(getattr(error, "errno", None) or 0, f"the operating system refused: {error}")
            return self._poll(root, identity, reason, retry_s=time.monotonic() + _RETRY_S)

    def _watch_natively(self, root: Path, identity: _Identity) -> _Watched:
        if self._observer is None:
            self._observer = self._system.observer()

        def on_change(folder: str, is_folder: bool) -> None:
            self._events += 1
            if is_folder:
                self._grown.add(root)
            self._on_change(root, folder, is_folder)

        watch = self._observer.watch(root, on_change)
        if self._system.is_out_of_watches():
            watch.stop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return _Watched(WatchState(root, WatchMethod.NATIVE), identity, stop=watch.stop, is_alive=watch.is_alive)

    def _poll(self, root: Path, identity: _Identity, reason: str, retry_s: float = float("inf")) -> _Watched:
        poll = FolderPoll(root, lambda folder: self._on_change(root, str(folder), False), self._poll_s)
        poll.start()
        state = WatchState(root, WatchMethod.POLLING, reason)
        return _Watched(state, identity, retry_s, stop=poll.stop, is_alive=lambda: poll.is_alive)

    def _leave_exhausted(self) -> None:
        """New folders may have used up what can be watched: those that came last are not watched then."""
        grown = self._grown & self._watched.keys()
        self._grown -= grown
        if not grown or not self._system.is_out_of_watches():
            return
        for root in grown:
            before = self._watched[root]
            if before.state.method is WatchMethod.NATIVE and before.identity is not None:
                before.stop()
                retry_s = time.monotonic() + _RETRY_S
                self._watched[root] = self._poll(root, before.identity, _OUT_OF_WATCHES, retry_s)
                self._tell(before, self._watched[root])

    @staticmethod
    def _tell(before: _Watched | None, now: _Watched) -> None:
        """Once each, also where the same thing was found again after a while."""
        state = now.state
        if before is not None and before.state == state:
            return
        if state.method is WatchMethod.POLLING:
            log.warning("watch.polling root=%s reason='%s'", state.path, state.reason)
        else:
            log.info("watch.%s root=%s", state.method, state.path)


def _identity(root: Path) -> _Identity | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
