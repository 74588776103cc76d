"""The files of one folder, as the operating system tells them: names, sizes, times. Nothing is opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Part of every fingerprint: raised when the reader learns something new, so that every known folder is read again.
_READER_VERSION = 1
# Of one model folder; a Hugging Face repository with everything in it has some hundreds.
_MAX_FILES = 20_000

DOWNLOAD_MARKER = "download.tmp"
_PARTIAL_SUFFIXES = (".dlstate", ".incomplete", ".part", ".partial", ".tmp", ".crdownload")
# Folders with one of these are models of their own.
MODEL_MARKERS = ("genai_config.json", "inference_model.json")


@dataclass(frozen=True, slots=True, order=True)
class FileStat:
    """``name`` is relative to the listed folder, with forward slashes."""

    name: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FolderView:
    """The files directly in a folder, sorted. ``is_partial``: a download into it, or around it, is not finished."""

    files: tuple[FileStat, ...]
    is_partial: bool


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


def list_files(folder: Path) -> tuple[FileStat, ...]:
    """Every file of a model folder, sorted; sub-folders included unless they are models of their own.

    A link counts as the file it points to, and a dangling one with size 0; linked folders are not entered.
    Raises OSError if ``folder`` itself cannot be listed.
    """
    pending: list[tuple[Path, str]] = []
    files = _files_here(folder, "", pending)
    while pending and len(files) < _MAX_FILES:
        directory, prefix = pending.pop()
        try:
            files.extend(_files_here(directory, prefix, pending))
        except OSError:
            continue
    return tuple(sorted(files))


def fingerprint(files: Iterable[FileStat]) -> str:
    """Changes when a file is added, removed, renamed, resized or written; survives a move of the whole folder."""
    digest = hashlib.sha256(f"slmreg {_READER_VERSION}".encode())
    for file in files:
        digest.update(f"\n{file.name}\0{file.size_bytes}\0{file.mtime_ns}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _files_here(directory: Path, prefix: str, pending: list[tuple[Path, str]]) -> list[FileStat]:
    with os.scandir(directory) as entries:
        found = list(entries)
    if prefix and any(entry.name in MODEL_MARKERS for entry in found):
        return []
    files = []
    for entry in found:
        if is_directory(Path(entry.path)):
            if not entry.is_symlink():
                pending.append((Path(entry.path), f"{prefix}{entry.name}/"))
            continue
        files.append(_stat(entry, prefix))
    return files


def _stat(entry: os.DirEntry[str], prefix: str) -> FileStat:
    try:
        stat = entry.stat()
    except OSError:
        return FileStat(f"{prefix}{entry.name}", 0, 0)
    return FileStat(f"{prefix}{entry.name}", stat.st_size, stat.st_mtime_ns)


def total_bytes(files: Sequence[FileStat]) -> int:
    return sum(file.size_bytes for file in files)


def view_folder(folder: Path, roots: Iterable[Path]) -> FolderView | None:
    """What ``folder`` looks like now, None if it is gone or cannot be read; ``roots`` bound the search for a marker."""
    try:
        with os.scandir(folder) as entries:
            files = [_stat(entry, "") for entry in entries if not entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return None if not exists(folder) else FolderView((), is_partial=False)
    except OSError:
        return None
    is_partial = any(is_partial_name(file.name) for file in files) or is_downloading(folder, roots)
    return FolderView(tuple(sorted(files)), is_partial)


def is_downloading(folder: Path, roots: Iterable[Path]) -> bool:
    """Foundry keeps its marker one or more levels above the files; ``roots`` bound the search."""
    root = next((root for root in roots if folder.is_relative_to(root)), folder)
    return any(exists(above / DOWNLOAD_MARKER) for above in folder.parents if above.is_relative_to(root))
