"""What folders look like while they are waited for, downloads into them included that leave traces elsewhere.

Hugging Face's tools keep the unfinished part of a file away from the folder it is for: beside the blobs of the
repository in their cache, or hidden in the folder that they were told to download into.
"""

from __future__ import annotations

import os
import time
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.files.listing import DOWNLOAD_MARKER, FileStat, exists, is_partial_name
from registry.layouts.hub import is_repository_name

_SNAPSHOTS = "snapshots"
_BLOBS = "blobs"
_HIDDEN = ".cache"
_LOCAL_DOWNLOADS = Path(_HIDDEN, "huggingface", "download")
_UNFINISHED_SUFFIX = ".incomplete"
# Interrupted downloads leave such files for ever; one that runs writes at least every ten megabytes.
_FRESH_S = 60.0


@dataclass(frozen=True, slots=True)
class FolderView:
    """The files directly in a folder, sorted, then unfinished ones that are kept elsewhere.

    ``is_partial``: a download into it, or around it, is not finished.
    """

    files: tuple[FileStat, ...]
    is_partial: bool


def look_at(folders: Iterable[Path], roots: Iterable[Path]) -> dict[Path, FolderView | None]:
    """What each folder looks like now, None if it is gone or cannot be read; downloads are looked for below roots."""
    around = _Around(roots)
    return {folder: _look_at(folder, around) for folder in folders}


def _look_at(folder: Path, around: _Around) -> FolderView | None:
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
        files = sorted(_stat(entry) for entry in found if not entry.is_dir(follow_symlinks=False))
    except OSError:
        return None
    unfinished = around.downloads_into(folder, has_hidden=any(entry.name == _HIDDEN for entry in found))
    is_partial = (
        any(is_partial_name(file.name) for file in files)
        or any(file.mtime_ns >= around.oldest_running_ns for file in unfinished)
        or around.is_marked(folder)
    )
    return FolderView((*files, *unfinished), is_partial)


def concerned(folder: Path) -> Iterator[Path]:
    """The folders whose models may change when something happens in ``folder``: itself, and what links into it."""
    yield folder
    repository = _repository_that_keeps(folder)
    if repository is not None:
        yield from folders_below(repository / _SNAPSHOTS)


def to_scan(folder: Path, roots: Container[Path]) -> Path:
    """Where to look for what has changed in ``folder``.

    Blobs and references mean nothing without their repository. What Foundry's marker says about its folder (a download
    in it, or one that left no model behind) depends on what lies below.
    """
    start = _repository_that_keeps(folder) or folder
    whole = start
    for each in (start, *start.parents):
        if exists(each / DOWNLOAD_MARKER):
            whole = each
        if each in roots:
            return whole
    return start


def folders_below(path: Path) -> Iterator[Path]:
    """Every folder in ``path`` at any depth, but for hidden and linked ones."""
    for directory, names, _files in os.walk(path):
        names[:] = [name for name in names if not name.startswith(".")]
        yield from (each for name in names if not (each := Path(directory, name)).is_symlink())


def _repository_that_keeps(folder: Path) -> Path | None:
    """The repository in a Hugging Face cache that ``folder`` belongs to, unless it is one of its snapshots."""
    inner = folder
    for each in (folder, *folder.parents):
        if is_repository_name(each.name):
            return each if inner.name != _SNAPSHOTS else None
        inner = each
    return None


class _Around:
    """What lies in the folders around others, up to their roots. Each folder is looked at once."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self.oldest_running_ns = time.time_ns() - int(_FRESH_S * 1e9)
        self._roots = frozenset(roots)
        self._unfinished: dict[Path, tuple[FileStat, ...]] = {}
        self._marked: dict[Path, bool] = {}

    def downloads_into(self, folder: Path, *, has_hidden: bool) -> tuple[FileStat, ...]:
        """Unfinished files of Hugging Face downloads into ``folder`` or one around it."""
        here = tuple(_unfinished_in(folder / _LOCAL_DOWNLOADS)) if has_hidden else ()
        if folder.name == _SNAPSHOTS and is_repository_name(folder.parent.name):
            here += tuple(_unfinished_in(folder.parent / _BLOBS))
        return here if self._is_top(folder) else here + self._downloads_around(folder.parent)

    def is_marked(self, folder: Path) -> bool:
        """Whether Foundry's marker lies in a folder around this one, below the root."""
        above = folder.parent
        if self._is_top(folder) or self._is_top(above):
            return False
        if above not in self._marked:
            self._marked[above] = exists(above / DOWNLOAD_MARKER) or self.is_marked(above)
        return self._marked[above]

    def _downloads_around(self, folder: Path) -> tuple[FileStat, ...]:
        if folder not in self._unfinished:
            self._unfinished[folder] = self.downloads_into(folder, has_hidden=True)
        return self._unfinished[folder]

    def _is_top(self, folder: Path) -> bool:
        return folder in self._roots or folder.parent == folder


def _unfinished_in(folder: Path) -> Iterator[FileStat]:
    for directory, _folders, names in os.walk(folder):
        for name in sorted(names):
            if name.endswith(_UNFINISHED_SUFFIX):
                yield _stat(Path(directory, name))


def _stat(file: os.DirEntry[str] | Path) -> FileStat:
    """A link counts as the file it points to, and a dangling one with size 0."""
    try:
        status = file.stat()
    except OSError:
        return FileStat(file.name, 0, 0)
    return FileStat(file.name, status.st_size, status.st_mtime_ns)
