"""``NativeObserver``: the operating system's own news about files. The only owner of watchdog.

Watchdog's threads can end without a word: version 7.1 ends the one that reads inotify when a folder was moved out of a
root, made again, deleted, and then deleted where it was moved to. So they are all known here, and can be asked for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.utils import BaseThread

log = logging.getLogger("slmreg.watch")

# Called with the path of a folder in which something happened, and whether that folder itself came, went or moved.
OnChange = Callable[[str, bool], object]

# Reading a folder causes these: to follow them would be to answer one's own echo.
_READING = frozenset({"opened", "closed_no_write"})
# What a change inside a directory does to the directory itself; the change has an event of its own.
_ECHOES = frozenset({"modified", "attrib", "closed"})
# Linux says when a file that was written is closed. Each single write would cost 0.2 s of CPU per GB that is copied.
_LINUX_EVENTS: list[type[FileSystemEvent]] = [
    *(FileCreatedEvent, FileClosedEvent, FileMovedEvent, FileDeletedEvent),
    *(DirCreatedEvent, DirMovedEvent, DirDeletedEvent),
]
_EVENTS = _LINUX_EVENTS if sys.platform.startswith("linux") else None
_WATCHED_TWICE = "Callback with id .* already exists"
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class NativeWatch:
    """The watch of one root. ``is_alive`` is False once it tells nothing more, also because the root was deleted."""

    stop: Callable[[], object]
    is_alive: Callable[[], bool]


class NativeObserver:
    """Watchdog's observer of this platform, running. Raises OSError if there can be no more of them."""

    def __init__(self, make: Callable[[], BaseObserver] = Observer) -> None:
        # Watchdog 7 warns where a folder that is moved or copied gets its watch twice. Nothing is lost by that, and a
        # warning that is turned into an error would end the thread that reads all events of this process.
        warnings.filterwarnings("ignore", _WATCHED_TWICE, RuntimeWarning)
        logging.getLogger("watchdog.observers.inotify").addFilter(_is_news)
        self._threads: set[BaseThread] = set()
        with self._new_threads():
            self._observer = make()
            self._observer.start()

    @property
    def is_alive(self) -> bool:
        """False once any of its threads has ended that nobody had asked to."""
        return all(thread.is_alive() or not thread.should_keep_running() for thread in self._threads)

    def watch(self, root: Path, on_change: OnChange) -> NativeWatch:
        """Changes anywhere under ``root`` are told from now on, from a thread of watchdog.

        Raises OSError or RuntimeError if the operating system refuses. Takes 20 microseconds a folder on Linux.
        """
        with self._new_threads():
            watch = self._observer.schedule(_Handler(on_change), str(root), recursive=True, event_filter=_EVENTS)
        emitter = next(emitter for emitter in self._observer.emitters if emitter.watch is watch)
        return NativeWatch(lambda: self._unwatch(watch), lambda: self.is_alive and emitter.is_alive())

    def _unwatch(self, watch: ObservedWatch) -> None:
        try:
            self._observer.unschedule(watch)
        except Exception as error:  # its books may be wrong, see above: the watch is as good as gone
            log.debug("watch.already_gone root=%s reason=%r", watch.path, error)

    def close(self) -> None:
        try:
            self._observer.stop()
            self._observer.join(_STOP_TIMEOUT_S)
        except Exception as error:
            log.debug("watch.unclean_stop reason=%r", error)

    @contextlib.contextmanager
    def _new_threads(self) -> Iterator[None]:
        """Those that are started inside belong to this observer."""
        before = set(threading.enumerate())
        yield
        self._threads = {thread for thread in self._threads if thread.is_alive() or thread.should_keep_running()}
        started = set(threading.enumerate()) - before
        self._threads |= {thread for thread in started if isinstance(thread, BaseThread)}


def _is_news(record: logging.LogRecord) -> bool:
    """Whatever watches a root that is gone ends with this, and calls it an error."""
    return "called when the thread is inactive" not in str(record.msg)


class _Handler(FileSystemEventHandler):
    """From watchdog's events to the folders in which something happened."""

    def __init__(self, on_change: OnChange) -> None:
        self._on_change = on_change

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _READING or (event.is_directory and event.event_type in _ECHOES):
            return
        for path in (event.src_path, event.dest_path):
            if path:
                changed = os.fsdecode(path)
                self._on_change(changed if event.is_directory else os.path.split(changed)[0], event.is_directory)
