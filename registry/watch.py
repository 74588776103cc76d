"""``RootWatcher``: tells which folders under the roots have changed and come to rest.

File system events only say where to look; whether a folder is at rest is decided by looking at it, so that a lost or
doubled event costs nothing. Roots that are not there are looked for again and again.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from registry.model import Root
from registry.watching.settle import DEFAULT_PARTIAL_S, FolderSettler
from registry.watching.view import concerned, folders_below, look_at, to_scan
from registry.watching.watches import THIS_SYSTEM, System, Watches, WatchMethod, WatchState

__all__ = ["RootWatcher", "System", "WatchMethod", "WatchState"]

log = logging.getLogger("slmreg.watch")

_STOP_TIMEOUT_S = 10.0
_TICK_S = 0.05
# Looking at pending folders may take at most a fifth of the time.
_REST_PER_WORK = 4.0
_FAILURE_REST_S = 1.0
# Fewer are reported one by one; one scan of a folder around them is cheaper than more.
_MANY_FOLDERS = 16
# More than this one by one cost more than to look at all there is, at what is still being written too.
_TOO_MANY_FOLDERS = 200


class RootWatcher:
    """Calls ``on_settled`` with each folder to scan again, from a thread of its own, between ``start`` and ``stop``.

    ``roots`` is asked every ``poll_s`` seconds which roots there are; those that are not enabled are left alone. A
    folder is reported once it was still for its root's ``settle_s``, or else the one given here, also when it is gone;
    a root also after it appeared, was added, or vanished, and where changes may have been missed. Roots that are there
    at ``start`` are the caller's to scan.
    """

    def __init__(
        self,
        roots: Callable[[], Iterable[Root]],
        on_settled: Callable[[Path], object],
        *,
        settle_s: float = 1.0,
        poll_s: float = 2.0,
        partial_s: float = DEFAULT_PARTIAL_S,
        system: System = THIS_SYSTEM,
    ) -> None:
        self._find_roots = roots
        self._on_settled = on_settled
        self._poll_s = poll_s
        self._settler = FolderSettler(settle_s, partial_s)
        self._inbox = _Inbox()
        self._watches = Watches(self._inbox.put, poll_s=poll_s, system=system)
        self._roots: Mapping[Path, Root] = {}
        self._lifecycle = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        """True from ``start`` to ``stop``, unless the thread has ended by itself; ``start`` begins again then."""
        return self._thread is not None and self._thread.is_alive()

    def states(self) -> tuple[WatchState, ...]:
        """How each root is watched at the moment; nothing unless started."""
        return self._watches.states

    def start(self) -> None:
        """Changes from now on are seen. Returns once the roots are watched. Starting what runs is fine."""
        with self._lifecycle:
            if self._thread is not None and self._thread.is_alive():
                return
            self._watches.close()
            self._stopping = threading.Event()
            self._watches.follow(self._current_roots())
            self._thread = threading.Thread(target=self._run, args=(self._stopping,), name="slmreg-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """No call of ``on_settled`` begins after this. Stopping what does not run is fine."""
        with self._lifecycle:
            self._stopping.set()
            self._inbox.wake()
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join(_STOP_TIMEOUT_S)
            self._thread = None
            self._watches.close()

    def _run(self, stopping: threading.Event) -> None:
        rest_s = _TICK_S
        next_roots_s = time.monotonic() + self._poll_s
        while not stopping.is_set():
            try:
                if self._settler.pending:
                    stopping.wait(rest_s)
                self._take_in(0.0 if self._settler.pending else max(0.0, next_roots_s - time.monotonic()))
                if time.monotonic() >= next_roots_s or not self._watches.is_healthy:
                    self._look_after_roots()
                    next_roots_s = time.monotonic() + self._poll_s
                started_s = time.monotonic()
                folders = self._settled()
                rest_s = max(_TICK_S, _REST_PER_WORK * (time.monotonic() - started_s))
                for folder in folders:
                    self._report(folder, stopping)
            except Exception:
                # Whatever it was, the next round may be better, and without this thread nothing is noticed at all.
                log.exception("watch.round_failed")
                stopping.wait(_FAILURE_REST_S)

    def _take_in(self, timeout_s: float) -> None:
        """Wait for a first change, at most this long, and take in every change there is."""
        for (root, folder), (at_s, is_tree) in self._inbox.take(timeout_s).items():
            path = Path(folder)
            for each in (path, *folders_below(path)) if is_tree else (path,):
                for affected in concerned(each):
                    self._touch(root, affected, at_s)
        if not self._settler.pending:
            self._watches.rest()

    def _touch(self, root: Path, folder: Path, at_s: float) -> None:
        if root in self._roots and folder.is_relative_to(root):
            hidden = any(part.startswith(".") for part in folder.relative_to(root).parts)
            if not hidden:
                self._settler.touch(folder, at_s, settle_s=self._roots[root].settle_s)

    def _settled(self) -> tuple[Path, ...]:
        views = look_at(self._settler.pending, self._roots)
        settled = self._settler.settled(views, time.monotonic())
        folders = tuple(dict.fromkeys(to_scan(folder, self._roots) for folder in settled))
        return _gathered(folders, self._settler.pending, self._roots)

    def _look_after_roots(self) -> None:
        for root in self._watches.follow(self._current_roots()):
            for folder in (root, *folders_below(root)):
                self._touch(root, folder, time.monotonic())

    def _current_roots(self) -> Iterable[Path]:
        try:
            roots: dict[Path, Root] = {}
            for root in self._find_roots():
                if root.is_enabled:
                    roots.setdefault(root.path, root)
            self._roots = roots
        except Exception:
            # The registry may be busy or briefly out of reach: what was watched stays watched.
            log.exception("watch.roots_unknown")
        return self._roots

    def _report(self, folder: Path, stopping: threading.Event) -> None:
        if stopping.is_set():
            return
        try:
            self._on_settled(folder)
        except Exception:
            # One scan that fails must not end the watching; the next rescan of everything corrects it.
            log.exception("watch.report_failed folder=%s", folder)


class _Inbox:
    """What has happened since the last ``take``, each folder once. Any thread may ``put``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._has_some = threading.Event()
        self._changes: dict[tuple[Path, str], tuple[float, bool]] = {}

    def put(self, root: Path, folder: str, is_tree: bool) -> None:
        with self._lock:
            _at_s, was_tree = self._changes.get((root, folder), (0.0, False))
            self._changes[root, folder] = (time.monotonic(), is_tree or was_tree)
        self._has_some.set()

    def wake(self) -> None:
        self._has_some.set()

    def take(self, timeout_s: float) -> dict[tuple[Path, str], tuple[float, bool]]:
        """By root and folder: when it was last, and whether the folder itself came or went. Waits for a first one."""
        self._has_some.wait(timeout_s)
        with self._lock:
            self._has_some.clear()
            changes, self._changes = self._changes, {}
        return changes


def _gathered(folders: tuple[Path, ...], pending: Iterable[Path], roots: Iterable[Path]) -> tuple[Path, ...]:
    """Where very many folders settle at once, those that hold them, as long as nothing in these is still pending."""
    if len(folders) < _MANY_FOLDERS:
        return folders
    common = Path(os.path.commonpath(folders))
    if not any(common.is_relative_to(root) for root in roots):
        return folders
    busy = {above for folder in pending for above in (folder, *folder.parents)}
    gathered = tuple(sorted({_highest(folder, common, busy) for folder in folders}))
    return gathered if len(gathered) <= _TOO_MANY_FOLDERS else (common,)


def _highest(folder: Path, common: Path, busy: set[Path]) -> Path:
    """The folder furthest above ``folder``, not above ``common``, in which nothing is busy."""
    highest = folder
    for above in folder.parents:
        if above in busy or not above.is_relative_to(common):
            break
        highest = above
    return highest
