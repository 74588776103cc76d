"""The files of one folder, as the operating system tells them: names, sizes, times. Nothing is opened."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

# Part of every fingerprint: raised when the reader learns something new, so that every known folder is read again.
_READER_VERSION = 4
# Of one model folder; a Hugging Face repository with everything in it has some hundreds.
_MAX_FILES = 20_000
_MAX_FOLDER_DEPTH = 8

DOWNLOAD_MARKER = "download.tmp"
_PARTIAL_SUFFIXES = (".dlstate", ".incomplete", ".part", ".partial", ".tmp", ".crdownload")
# Folders with one of these are models of their own.
MODEL_MARKERS = ("genai_config.json", "inference_model.json")


class FileStat(NamedTuple):
    """``name`` is relative to the listed folder, with forward slashes. A tuple, because ten thousands are made."""

    name: str
    size_bytes: int
    mtime_ns: int


def exists(path: Path) -> bool:
    """False also for what cannot be asked about: a forbidden folder, a name that is too long, a link to itself."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_directory(path: Path) -> bool:
    """Like ``exists``, for directories and links to them."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def resolved(path: Path) -> Path:
    """Absolute and without links, whether it exists or not, so that one folder has one path."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name with a null character
        return path.absolute()


def is_text(name: str) -> bool:
    """False for what the operating system allows in a name and UTF-8 does not: it cannot be stored or printed."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_partial_name(name: str) -> bool:
    """True for what downloaders leave beside a file, or call it, until it is complete."""
    return name.lower().endswith(_PARTIAL_SUFFIXES)


def folders_of(entries: Iterable[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    """The directories among ``entries``, linked ones included; what cannot be asked about is none."""
    try:
        return [entry for entry in entries if entry.is_dir()]
    except OSError:  # one of them is a link that leads nowhere or in a circle, so ask one by one
        return [entry for entry in entries if is_directory(Path(entry.path))]


def is_link(entry: os.DirEntry[str]) -> bool:
    """True for a symbolic link, and for Windows' junctions, which may lead in circles as well."""
    if sys.platform == "win32":
        try:
            tag = entry.stat(follow_symlinks=False).st_reparse_tag
        except OSError:
            return True
        # Folders in a cloud drive have tags too, and are no links.
        return tag in (stat.IO_REPARSE_TAG_SYMLINK, stat.IO_REPARSE_TAG_MOUNT_POINT)
    return entry.is_symlink()


def list_files(folder: Path | str) -> tuple[FileStat, ...]:
    """Every file of a model folder, sorted, as ``files_of`` finds them. Raises OSError if it cannot be listed."""
    with os.scandir(folder) as found:
        entries = list(found)
    return tuple(map(FileStat._make, files_of(entries, folders_of(entries))))


def files_of(
    entries: Sequence[os.DirEntry[str]], folders: Sequence[os.DirEntry[str]], apart: Container[str] = ()
) -> list[tuple[str, int, int]]:
    """The files among a model folder's ``entries`` and below its ``folders``, sorted, as ``FileStat`` has them.

    A link counts as the file it points to, and a dangling one with size 0. Sub-folders are included unless they are
    hidden, linked, in ``apart`` (paths), or hold a model or a download of their own at any depth.
    Raises OSError if the folder may be listed, but nothing in it may be looked at.
    """
    files = _files_among(entries, folders, "")
    for folder in folders:
        files.extend(_files_below(folder, "", apart, _MAX_FOLDER_DEPTH) or ())
    files.sort()
    return files[:_MAX_FILES]


def fingerprint(files: Iterable[tuple[str, int, int]]) -> str:
    """Changes when a file is added, removed, renamed, resized or written; survives a move of the whole folder."""
    lines = "\n".join([f"{name}\0{size_bytes}\0{mtime_ns}" for name, size_bytes, mtime_ns in files])
    text = f"slmreg {_READER_VERSION}\n{lines}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _files_below(
    folder: os.DirEntry[str], prefix: str, apart: Container[str], depth: int
) -> list[tuple[str, int, int]] | None:
    """The files in a sub-folder of a model; None if it does not belong to the model."""
    if depth == 0 or folder.name.startswith(".") or is_link(folder) or folder.path in apart:
        return []
    try:
        with os.scandir(folder.path) as found:
            entries = list(found)
    except OSError:
        return []
    if any(entry.name in MODEL_MARKERS or entry.name == DOWNLOAD_MARKER for entry in entries):
        return None
    prefix = f"{prefix}{folder.name}/"
    folders = folders_of(entries)
    try:
        files = _files_among(entries, folders, prefix)
    except OSError:
        return []
    for sub_folder in folders:
        more = _files_below(sub_folder, prefix, apart, depth - 1)
        if more is None:
            return None
        files.extend(more)
        if len(files) > _MAX_FILES:
            break
    return files


def _files_among(
    entries: Sequence[os.DirEntry[str]], folders: Sequence[os.DirEntry[str]], prefix: str
) -> list[tuple[str, int, int]]:
    if folders:
        names = {folder.name for folder in folders}
        entries = [entry for entry in entries if entry.name not in names]
    if prefix:
        return [(f"{prefix}{name}", size, time) for name, size, time in _files_among(entries, (), "")]
    try:
        return [(entry.name, (status := entry.stat()).st_size, status.st_mtime_ns) for entry in entries]
    except OSError:  # one of them is gone, or a link that leads nowhere, so ask one by one
        if not os.access(Path(entries[0].path).parent, os.X_OK):
            raise
        return [_stat(entry) for entry in entries]


def _stat(entry: os.DirEntry[str]) -> FileStat:
    try:
        status = entry.stat()
    except OSError:
        return FileStat(entry.name, 0, 0)
    return FileStat(entry.name, status.st_size, status.st_mtime_ns)


def total_bytes(files: Sequence[FileStat]) -> int:
    return sum(file.size_bytes for file in files)


def is_downloading(folder: Path, roots: Iterable[Path]) -> bool:
    """Foundry keeps its marker one or more levels above the files, below the root: ``roots`` bound the search."""
    root = next((root for root in roots if folder.is_relative_to(root)), folder)
    return any(
        exists(above / DOWNLOAD_MARKER) for above in folder.parents if above != root and above.is_relative_to(root)
    )
