"""The Hugging Face hub's cache: which repository and revision a folder in it belongs to, and what is still on its way.

    <cache>/models--<publisher>--<name>/
      blobs/<hash>                  the files; <hash>.incomplete while one is downloaded
      refs/main                     a commit
      snapshots/<commit>/...        the files by name: links into blobs, or real files where links are not to be had

Layout as huggingface_hub writes it. Nothing here raises: what cannot be read is taken as not there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from registry.files.listing import is_text

_REPOSITORY_PREFIX = "models--"
# Repositories of other kinds lie beside those of models.
_OTHER_PREFIXES = ("datasets--", "spaces--")
_UNFINISHED_SUFFIX = ".incomplete"
# Of one repository; real ones have a handful of references and at most some hundred files.
_MAX_REFS = 1000
_MAX_ENTRIES = 100_000
_COMMIT_CHARACTERS = 40
_SHORT_COMMIT_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class HubRevision:
    """``repository`` is ``publisher/name``, ``revision`` a commit, ``refs`` the names that point at it.

    ``path`` is the repository's folder in the cache, which its files may link to each other in. ``version`` is the
    commit, shortened as far as the revisions in the cache stay apart.
    """

    repository: str
    revision: str
    refs: tuple[str, ...]
    path: Path
    version_characters: int = _SHORT_COMMIT_CHARACTERS

    @property
    def publisher(self) -> str | None:
        return self.repository.partition("/")[0] if "/" in self.repository else None

    @property
    def name(self) -> str:
        return self.repository.rpartition("/")[2]

    @property
    def version(self) -> str:
        return self.revision[: self.version_characters]

    @property
    def snapshot(self) -> Path:
        return self.path / "snapshots" / self.revision


class HubRepository:
    """One repository of models in a cache, read as far as it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name.removeprefix(_REPOSITORY_PREFIX).replace("--", "/", 1)

    @cached_property
    def revisions(self) -> tuple[str, ...]:
        """The commits that there are snapshots of."""
        return tuple(sorted(entry.name for entry in _entries(self.path / "snapshots") if _is_folder(entry)))

    @cached_property
    def is_unfinished(self) -> bool:
        """Whether a file is being downloaded, or its download was interrupted."""
        return _has_unfinished(self.path / "blobs")

    def revision(self, commit: str) -> HubRevision:
        return HubRevision(self.name, commit, self._refs.get(commit, ()), self.path, self._version_characters)

    @cached_property
    def _version_characters(self) -> int:
        lengths = range(_SHORT_COMMIT_CHARACTERS, _COMMIT_CHARACTERS + 1)
        count = len(self.revisions)
        return next((n for n in lengths if len({each[:n] for each in self.revisions}) == count), _COMMIT_CHARACTERS)

    @cached_property
    def _refs(self) -> dict[str, tuple[str, ...]]:
        """Names by commit. A name may have slashes: ``refs/pr/1``."""
        found: dict[str, list[str]] = {}
        pending = [(self.path / "refs", "")]
        count = 0
        while pending and count < _MAX_REFS:
            folder, prefix = pending.pop()
            for entry in _entries(folder):
                count += 1
                if _is_folder(entry):
                    pending.append((Path(entry.path), f"{prefix}{entry.name}/"))
                elif is_text(entry.name) and (commit := _commit_in(Path(entry.path))):
                    found.setdefault(commit, []).append(f"{prefix}{entry.name}")
        return {commit: tuple(sorted(names)) for commit, names in found.items()}


def is_repository_name(name: str) -> bool:
    """True for the name of a folder in which the hub's cache keeps a repository of models."""
    return name.startswith(_REPOSITORY_PREFIX)


def is_other_repository_name(name: str) -> bool:
    """True for the repositories beside those, of datasets and the like."""
    return name.startswith(_OTHER_PREFIXES)


def is_downloading_into(folder: Path) -> bool:
    """True if a download straight into this folder (``hf download --local-dir``) is running or was interrupted."""
    return _has_unfinished(folder / ".cache" / "huggingface" / "download")


def _has_unfinished(folder: Path) -> bool:
    pending = [folder]
    while pending:
        for entry in _entries(pending.pop()):
            if entry.name.endswith(_UNFINISHED_SUFFIX):
                return True
            if _is_folder(entry):
                pending.append(Path(entry.path))
    return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(islice(entries, _MAX_ENTRIES))
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _commit_in(file: Path) -> str:
    try:
        if not file.is_file():  # opening a pipe would wait
            return ""
        with file.open("rb") as opened:
            return opened.read(2 * _COMMIT_CHARACTERS).decode("ascii", "replace").strip()
    except OSError:
        return ""
