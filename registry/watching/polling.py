"""``FolderPoll``: what changes under a root that the operating system does not watch, found by looking at it.

Most looks only ask a folder for its time, which changes when a name in it comes or goes. What leaves that time alone, a
file written in place, is found by listing every folder in turn, a tenth of them at each look. 10,000 folders of six
files take 45 ms a look on a local disk (watchdog's own PollingObserver: 720 ms).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("slmreg.watch")

# Every folder is listed once in so many looks.
_TURNS = 10
# As deep as a scan goes, and the files of a model one further.
_MAX_DEPTH = 10
# Of one root; each costs some 350 bytes here. More are left to the rescan of everything.
_MAX_FOLDERS = 100_000
# Looking may take at most a fifth of the time.
_REST_PER_WORK = 4.0
# A share that does not answer holds its thread: the thread is left behind then.
_STOP_TIMEOUT_S = 0.5


@dataclass(slots=True)
class _Folder:
    """As it was listed last. ``mtime_ns`` is None if it is to be listed again at the next look.

    ``files`` stands for their names, sizes and times; ``folders`` are paths; ``turn`` says at which looks it is listed
    whatever its time says.
    """

    mtime_ns: int | None
    files: int
    folders: tuple[str, ...]
    turn: int


class FolderTree:
    """The folders under a root, hidden ones left out, as they were at the last ``look``."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._folders: dict[str, _Folder] = {}
        self._looks = 0

    def look(self) -> tuple[Path, ...]:
        """The folders that came, changed or went since the last look; the first one only learns what there is.

        A folder that cannot be looked at just now counts as unchanged.
        """
        is_first = not self._folders
        self._looks += 1
        changed: set[str] = set()
        pending = [(self._root, 0)]
        while pending:
            path, depth = pending.pop()
            folder = self._look_at(path, changed)
            if folder is not None and depth < _MAX_DEPTH:
                pending += [(below, depth + 1) for below in folder.folders]
        return () if is_first else tuple(Path(path) for path in sorted(changed))

    def _look_at(self, path: str, changed: set[str]) -> _Folder | None:
        before = self._folders.get(path)
        if before is None and len(self._folders) >= _MAX_FOLDERS:
            return None
        try:
            mtime_ns = os.stat(path).st_mtime_ns  # noqa: PTH116 - a Path for each takes longer than the question
            if before is not None and before.mtime_ns == mtime_ns and (self._looks + before.turn) % _TURNS:
                return before
            now = self._listed(path, mtime_ns, before)
        except (FileNotFoundError, NotADirectoryError):
            if path != self._root and before is not None:
                self._forget(path)
                changed.add(path)
            return None
        except OSError:
            return before
        self._note_differences(path, before, now, changed)
        self._folders[path] = now
        return now

    def _note_differences(self, path: str, before: _Folder | None, now: _Folder, changed: set[str]) -> None:
        if before is None or before.files != now.files:
            changed.add(path)
        if before is None or (before.files, before.folders) != (now.files, now.folders):
            # Times can be as coarse as two seconds: what happened right after this listing may not show in them.
            now.mtime_ns = None
        for gone in set(before.folders if before is not None else ()) - set(now.folders):
            self._forget(gone)
            changed.add(gone)

    def _listed(self, path: str, mtime_ns: int, before: _Folder | None) -> _Folder:
        files, folders = [], []
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith("."):
                        folders.append(entry.path)
                else:
                    files.append(_state_of(entry))
        turn = len(self._folders) % _TURNS if before is None else before.turn
        return _Folder(mtime_ns, hash(tuple(sorted(files))), tuple(sorted(folders)), turn)

    def _forget(self, path: str) -> None:
        for below in [path, *self._below(path)]:
            self._folders.pop(below, None)

    def _below(self, path: str) -> Iterator[str]:
        folder = self._folders.get(path)
        for below in folder.folders if folder is not None else ():
            yield below
            yield from self._below(below)


class FolderPoll:
    """Calls ``note`` with each folder under ``root`` that changed, from a thread of its own, until ``stop``.

    Also with the root once it was first looked at, because nobody knows what changed until then.
    """

    def __init__(self, root: Path, note: Callable[[Path], object], poll_s: float) -> None:
        self._root = root
        self._note = note
        self._poll_s = poll_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slmreg-poll", daemon=True)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        tree = FolderTree(self._root)
        is_first = True
        while not self._stopping.is_set():
            started_s = time.monotonic()
            changed = tree.look()
            for folder in (self._root,) if is_first else changed:
                self._note(folder)
            is_first = False
            self._stopping.wait(max(self._poll_s, _REST_PER_WORK * (time.monotonic() - started_s)))


def _state_of(entry: os.DirEntry[str]) -> tuple[str, int, int]:
    try:
        status = entry.stat()
    except OSError:
        return entry.name, -1, 0
    return entry.name, status.st_size, status.st_mtime_ns
