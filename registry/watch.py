"""``RootWatcher``: tells which folders under the roots have changed and come to rest. The only owner of watchdog.

File system events only say where to look; whether a folder is at rest is decided by looking at it, so that a lost or
doubled event costs nothing. Roots that are not there are looked for again and again. Where the operating system refuses
to watch (inotify's limits), a root is polled.
"""

from __future__ import annotations

import logging
import os
import queue
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.polling import PollingObserver

from registry.listing import view_folder
from registry.settle import DEFAULT_PARTIAL_S, FolderSettler

log = logging.getLogger("slmreg.watch")

# Reading a folder causes these: to follow them would be to answer one's own echo.
_READING = frozenset({"opened", "closed_no_write"})
# What a change inside a directory does to the directory itself; the change has an event of its own.
_ECHOES = frozenset({"modified", "attrib", "closed"})
_STOP_TIMEOUT_S = 10.0
_WATCHED_TWICE = "Callback with id .* already exists"
# Fewer are reported one by one; one scan of the folder around them is cheaper than more.
_MANY_FOLDERS = 16
# Looking at pending folders may take at most a fifth of the time.
_REST_PER_WORK = 4.0


class RootWatcher:
    """Calls ``on_settled`` with each folder to scan again, from a thread of its own, until ``stop``.

    ``roots`` is asked every ``poll_s`` seconds which folders are to be watched. A folder is reported about ``settle_s``
    after its last change, also when it is gone; a root also after it appeared, was added, or vanished. Roots that are
    there at ``start`` are not reported: they are the caller's to scan.
    """

    def __init__(
        self,
        roots: Callable[[], Iterable[Path]],
        on_settled: Callable[[Path], object],
        *,
        settle_s: float = 1.0,
        poll_s: float = 2.0,
        partial_s: float = DEFAULT_PARTIAL_S,
        native: Callable[[], BaseObserver] = Observer,
    ) -> None:
        self._roots = roots
        self._on_settled = on_settled
        self._poll_s = poll_s
        self._tick_s = min(0.1, max(0.02, settle_s / 8))
        self._settler = FolderSettler(settle_s, partial_s)
        self._changed: queue.SimpleQueue[tuple[Path, float] | None] = queue.SimpleQueue()
        self._watches = _Watches(native, self._note, poll_s)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slmreg-watch", daemon=True)

    def start(self) -> None:
        """Changes from now on are seen. Returns once the roots are watched."""
        # Watchdog 7 warns where a folder that is moved or copied gets its watch twice. Nothing is lost by that, and a
        # warning that is turned into an error would end the thread that reads all events of this process.
        warnings.filterwarnings("ignore", _WATCHED_TWICE, RuntimeWarning)
        self._watches.follow(self._current_roots())
        self._thread.start()

    def stop(self) -> None:
        """No call of ``on_settled`` begins after this. Stopping what never started is fine."""
        self._stopping.set()
        self._changed.put(None)
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)
        self._watches.close()

    def _run(self) -> None:
        rest_s = self._tick_s
        next_roots_s = time.monotonic() + self._poll_s
        while not self._stopping.is_set():
            self._take_in(rest_s if self._settler.pending else max(0.0, next_roots_s - time.monotonic()))
            if time.monotonic() >= next_roots_s:
                self._look_after_roots()
                next_roots_s = time.monotonic() + self._poll_s
            started_s = time.monotonic()
            settled = self._settle()
            rest_s = max(self._tick_s, _REST_PER_WORK * (time.monotonic() - started_s))
            for folder in self._gathered(settled):
                self._report(folder)

    def _take_in(self, timeout_s: float) -> None:
        """Wait for a first change, or for the next look at what is pending, and take in every change there is."""
        if self._settler.pending:
            self._stopping.wait(timeout_s)
            timeout_s = 0.0
        try:
            change = self._changed.get(timeout=timeout_s) if timeout_s > 0 else self._changed.get_nowait()
            while True:
                if change is not None:
                    self._settler.touch(*change)
                change = self._changed.get_nowait()
        except queue.Empty:
            return

    def _settle(self) -> tuple[Path, ...]:
        views = {folder: view_folder(folder, self._watches.paths) for folder in self._settler.pending}
        return self._settler.settled(views, time.monotonic())

    def _gathered(self, folders: tuple[Path, ...]) -> tuple[Path, ...]:
        """Where very many folders settle at once, the one that holds them all, if nothing in it is still pending."""
        if len(folders) < _MANY_FOLDERS:
            return folders
        common = Path(os.path.commonpath(folders))
        is_inside = any(common.is_relative_to(root) for root in self._watches.paths)
        is_busy = any(folder.is_relative_to(common) for folder in self._settler.pending)
        return (common,) if is_inside and not is_busy else folders

    def _look_after_roots(self) -> None:
        for root in self._watches.follow(self._current_roots()):
            for folder in (root, *_folders_below(root)):
                self._settler.touch(folder, time.monotonic())

    def _current_roots(self) -> tuple[Path, ...]:
        try:
            return tuple(self._roots())
        except Exception:
            # The registry may be busy or briefly out of reach: what was watched stays watched.
            log.exception("watch.roots_unknown")
            return self._watches.paths

    def _report(self, folder: Path) -> None:
        if self._stopping.is_set():
            return
        try:
            self._on_settled(folder)
        except Exception:
            # One scan that fails must not end the watching; the next rescan of everything corrects it.
            log.exception("watch.report_failed folder=%s", folder)

    def _note(self, folder: Path) -> None:
        """Watchdog's threads: something happened in ``folder``."""
        self._changed.put((folder, time.monotonic()))


class _Watches:
    """Which roots are watched, by which observer. ``follow`` makes it so."""

    def __init__(self, native: Callable[[], BaseObserver], note: Callable[[Path], None], poll_s: float) -> None:
        self._make_native = native
        self._note = note
        self._poll_s = poll_s
        self._observers: dict[str, BaseObserver] = {}
        self._watched: dict[Path, tuple[_Identity, BaseObserver, ObservedWatch]] = {}
        self._absent: set[Path] = set()
        self._is_first = True

    @property
    def paths(self) -> tuple[Path, ...]:
        return (*self._watched, *self._absent)

    def follow(self, roots: Iterable[Path]) -> tuple[Path, ...]:
        """Watch exactly these roots; returns those that appeared, were replaced, or vanished since the last time."""
        wanted = tuple(dict.fromkeys(roots))
        for root in [root for root in self._watched if root not in wanted]:
            self._unwatch(root)
        self._absent.intersection_update(wanted)
        changed = tuple(root for root in wanted if self._follow_one(root))
        is_first, self._is_first = self._is_first, False
        return () if is_first else changed

    def close(self) -> None:
        for observer in self._observers.values():
            observer.stop()
        for observer in self._observers.values():
            observer.join(_STOP_TIMEOUT_S)
        self._observers.clear()
        self._watched.clear()

    def _follow_one(self, root: Path) -> bool:
        identity = _identity(root)
        watched = self._watched.get(root)
        if identity is None:
            if watched is None and root in self._absent:
                return False
            self._unwatch(root)
            self._absent.add(root)
            return watched is not None
        if watched is not None and watched[0] == identity:
            return False
        self._unwatch(root)
        self._absent.discard(root)
        observer, watch = self._watch(root)
        self._watched[root] = (identity, observer, watch)
        return True

    def _watch(self, root: Path) -> tuple[BaseObserver, ObservedWatch]:
        handler = _Handler(root, self._note)
        try:
            observer = self._observer("native")
            return observer, observer.schedule(handler, str(root), recursive=True)
        except (OSError, RuntimeError) as error:
            log.warning("watch.polling root=%s reason='%s'", root, error)
            observer = self._observer("polling")
            return observer, observer.schedule(handler, str(root), recursive=True)

    def _observer(self, kind: str) -> BaseObserver:
        if kind not in self._observers:
            observer = self._make_native() if kind == "native" else PollingObserver(timeout=self._poll_s)
            observer.start()
            self._observers[kind] = observer
        return self._observers[kind]

    def _unwatch(self, root: Path) -> None:
        if (watched := self._watched.pop(root, None)) is not None:
            _identity_before, observer, watch = watched
            try:
                observer.unschedule(watch)
            except (KeyError, OSError):
                log.debug("watch.already_gone root=%s", root)


class _Handler(FileSystemEventHandler):
    """From watchdog's events under one root to the folders in which something happened."""

    def __init__(self, root: Path, note: Callable[[Path], None]) -> None:
        self._root = root
        self._note = note

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _READING or (event.is_directory and event.event_type in _ECHOES):
            return
        paths = [Path(os.fsdecode(path)) for path in (event.src_path, event.dest_path) if path]
        for path in paths:
            if event.is_directory:
                # What was in a new folder before it was watched made no event.
                self._touch(path)
                for folder in _folders_below(path):
                    self._touch(folder)
            else:
                self._touch(path.parent)

    def _touch(self, folder: Path) -> None:
        if folder.is_relative_to(self._root):
            hidden = any(part.startswith(".") for part in folder.relative_to(self._root).parts)
            if not hidden:
                self._note(folder)


_Identity = tuple[int, int]


def _identity(root: Path) -> _Identity | None:
    """Of the directory that is at this path now; another one after it was deleted and made again."""
    try:
        status = root.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def _folders_below(path: Path) -> Iterator[Path]:
    for directory, names, _files in os.walk(path):
        names[:] = [name for name in names if not name.startswith(".")]
        yield from (Path(directory) / name for name in names)
