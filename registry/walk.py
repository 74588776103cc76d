"""``Walk``: from directory to directory under the roots, each listed once, with every model folder read or recognised.

Paths are plain strings here, because ten thousand folders that have not changed should cost little more than asking
the operating system for the times of their files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from registry.errors import InvalidModelFolder
from registry.files.listing import (
    DOWNLOAD_MARKER,
    MODEL_MARKERS,
    FileStat,
    exists,
    files_of,
    fingerprint,
    folders_of,
    is_link,
    is_text,
)
from registry.files.open_file import unreadable
from registry.layouts.encoder import ENCODER_TOKENIZER_FILE, find_encoder_graph
from registry.layouts.hub import HubRepository, is_other_repository_name, is_repository_name
from registry.layouts.kinds import Layout, layout_of
from registry.layouts.unusable import problem_of
from registry.model import FolderProblem, Model, Root
from registry.place import Place, unfinished_download
from registry.problems import ProblemCode, status_of
from registry.reading.folder import is_plain_encoder, read_model_folder

# Under one root. A home directory with everything that developers keep there has some hundred thousand.
MAX_DIRECTORIES = 500_000
# Of one directory.
MAX_ENTRIES = 200_000
_Entries = list[os.DirEntry[str]]


class Walk:
    """One scan in progress. Models and problems by path; a folder never has both."""

    def __init__(
        self,
        known: Mapping[Path, Model],
        roots: Sequence[Root],
        *,
        closed: frozenset[str],
        max_depth: int,
        allowed_libraries: frozenset[str] = frozenset(),
        max_directories: int = MAX_DIRECTORIES,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        """Directories in ``closed`` are not entered, and neither are ``roots``, unless the walk starts there."""
        self.models: dict[str, Model] = {}
        self.unchanged: dict[str, Path] = {}
        self.problems: dict[str, FolderProblem] = {}
        self._known = {str(path): (path, model) for path, model in known.items()}
        self._root_paths = frozenset(root.path for root in roots)
        self._apart = frozenset(map(str, self._root_paths)) | closed
        self._max_depth = max_depth
        self._allowed_libraries = allowed_libraries
        self._max_directories = max_directories
        self._max_entries = max_entries
        self._plain: list[str] = []
        self._listed = 0
        self._cut: InvalidModelFolder | None = None

    def start(self, path: str, place: Place, depth: int) -> bool:
        """Walk ``path`` and what is below; False if there was more than is looked at, so that some was not seen."""
        self._listed, self._cut = 0, None
        if place.repository is not None and place.commit is None:
            self._repository(place.repository, place, depth)
        else:
            self._directory(path, place, depth)
        if self._cut is not None:
            self.report(path, self._cut)
        return self._cut is None

    def unseen(self) -> list[str]:
        """The known folders that were not come across."""
        return [
            path
            for path in self._known
            if path not in self.unchanged and path not in self.models and path not in self.problems
        ]

    def report(self, path: str, error: InvalidModelFolder) -> None:
        # A cache's root can have a broken catalog and be a broken model: the model's problem is the one to know.
        problem = FolderProblem(Path(path), str(error.code), error.message, error.file, status_of(error.code))
        self.problems[path] = problem

    # -- directories

    def _directory(self, path: str, place: Place, depth: int) -> bool:
        """Walk ``path`` and what is below; True if there is a model or a problem anywhere in it."""
        entries = self._entries(path)
        if not entries:
            return path in self.problems
        names = {entry.name for entry in entries}
        layout = layout_of(names)
        folders = folders_of(entries)
        is_model = found = layout is Layout.GENAI
        if is_model:
            self._model(path, entries, folders, place)
        elif layout is Layout.PLAIN_ONNX and not place.is_inside_model and self._is_encoder(path, entries, folders):
            is_model = found = True
            self._model(path, entries, folders, place)
        elif layout is not None and not place.is_inside_model:
            found = self._other(path, layout, place)
        if folders and depth < self._max_depth:
            inner = place.inside(path, is_model=is_model, has_marker=DOWNLOAD_MARKER in names)
            for folder in folders:
                found |= self._folder(folder, inner, depth + 1)
        return found or self._leftover(path, names, place)

    def _entries(self, path: str) -> _Entries:
        """What is in ``path``; nothing if it is gone, or cannot be listed, which is reported."""
        self._listed += 1
        if self._listed > self._max_directories:
            self._cut = _too_many(f"{self._max_directories} folders here")
            return []
        try:
            with os.scandir(path) as found:
                entries = list(islice(found, self._max_entries + 1))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._unreadable(path, error)
            return []
        if len(entries) > self._max_entries:
            self._cut = _too_many(f"{self._max_entries} files in {path}")
        return entries

    def _folder(self, entry: os.DirEntry[str], place: Place, depth: int) -> bool:
        name, path = entry.name, entry.path
        if path in self._apart:
            return False
        if not is_text(name):
            self.report(str(Path(path).parent), _not_utf8(name))
            return True
        if name.startswith(".") or is_other_repository_name(name):
            return False
        if is_link(entry):
            return self._link(path)
        if is_repository_name(name) and (repository := HubRepository(Path(path))).revisions:
            return self._repository(repository, place, depth)
        return self._directory(path, place, depth)

    def _repository(self, repository: HubRepository, place: Place, depth: int) -> bool:
        """Every snapshot in a Hugging Face cache. Of plain exports one is reported, if there is nothing else."""
        self._plain.clear()
        models = len(self.models) + len(self.unchanged)
        found = False
        for commit in repository.revisions:
            snapshot = str(repository.path / "snapshots" / commit)
            if snapshot not in self._apart:
                found |= self._directory(snapshot, replace(place, repository=repository, commit=commit), depth + 2)
        has_models = len(self.models) + len(self.unchanged) > models
        for path in self._plain[0 if has_models else 1 :]:
            del self.problems[path]
        if not found and repository.is_unfinished and "onnx" in repository.name.lower():
            self.report(str(repository.path), unfinished_download(repository, None))
            found = True
        return found

    def _leftover(self, path: str, names: set[str], place: Place) -> bool:
        """A download without a model. What lies in a model's sub-folder is the model's, but for a marker of its own."""
        leftover = min((name for name in names if _is_leftover(name)), default=None)
        if leftover is None or (place.is_inside_model and DOWNLOAD_MARKER not in names):
            return False
        self.report(path, _unfinished(leftover))
        return True

    def _link(self, path: str) -> bool:
        """A linked folder is not entered: it may lead anywhere, and in circles. If it is a model, that is said."""
        target = _target(path)
        if target is None or str(target) in self._known or not any(exists(target / name) for name in MODEL_MARKERS):
            return False
        if any(target.is_relative_to(root) for root in self._root_paths):
            return False
        self.report(
            path,
            InvalidModelFolder(
                ProblemCode.LINK_NOT_FOLLOWED,
                f"This is a link to {target}, which is outside of every model root, and links are not followed. "
                f"Add the folder itself: slmreg roots add {target.parent}",
            ),
        )
        return True

    def _unreadable(self, path: str, error: OSError) -> None:
        """The folder, and each known model below it: nobody can say that they are gone."""
        problem = unreadable(Path(path), error)
        below = path.rstrip(os.sep) + os.sep
        for affected in (path, *(known for known in self._known if known.startswith(below))):
            self.report(affected, problem)

    # -- models

    def _model(self, path: str, entries: _Entries, folders: _Entries, place: Place) -> None:
        try:
            files = files_of(entries, folders, self._apart)
        except OSError as error:
            self._unreadable(path, error)
            return
        known = self._known.get(path)
        if known is not None and place.is_unchanged(known[1], files):
            self.unchanged[path] = known[0]
            return
        folder = Path(path)
        surroundings = place.surroundings(self._root_paths, self._allowed_libraries)
        try:
            model = read_model_folder(folder, surroundings, tuple(map(FileStat._make, files)))
            self.models[path] = place.named(model)
        except InvalidModelFolder as error:
            self.report(path, place.explained(error, folder))

    def _is_encoder(self, path: str, entries: _Entries, folders: _Entries) -> bool:
        """Whether a folder without genai_config.json is a text encoder; a known one is asked by its files alone."""
        if ENCODER_TOKENIZER_FILE not in {entry.name for entry in entries}:
            return False
        try:
            files = tuple(map(FileStat._make, files_of(entries, folders, self._apart)))
        except OSError:
            return False  # said where the folder is walked as any other
        if find_encoder_graph({file.name for file in files}) is None:
            return False
        known = self._known.get(path)
        if known is not None and known[1].fingerprint.partition("-")[0] == fingerprint(files):
            return True
        return is_plain_encoder(Path(path), files)

    def _other(self, path: str, layout: Layout, place: Place) -> bool:
        """Something that looks like a model and is none; True if that deserves a word."""
        problem = problem_of(Path(path), layout)
        if problem is None:
            return False
        if place.repository is not None and layout is Layout.PLAIN_ONNX:
            self._plain.append(path)
        self.report(path, place.explained(problem, Path(path)))
        return True


def _target(path: str) -> Path | None:
    try:
        return Path(path).resolve(strict=True)
    except (OSError, RuntimeError):
        return None


def _is_leftover(name: str) -> bool:
    return name == DOWNLOAD_MARKER or name.endswith(".dlstate")


def _unfinished(file: str) -> InvalidModelFolder:
    return InvalidModelFolder(
        ProblemCode.UNFINISHED,
        f"A download has started and not finished ({file} is there, and no model yet). Wait for it or start it again; "
        "if it was given up, delete the folder.",
        file=file,
    )


def _not_utf8(name: str) -> InvalidModelFolder:
    shown = name.encode("utf-8", "backslashreplace").decode()
    return InvalidModelFolder(
        ProblemCode.PATH_NOT_UTF8,
        f"The folder {shown!r} has a name that is not UTF-8, so nothing in it can be listed. Rename it.",
    )


def _too_many(what: str) -> InvalidModelFolder:
    return InvalidModelFolder(
        ProblemCode.SCAN_LIMIT,
        f"There are more than {what}, and the rest was not looked at. Make a folder of models the root instead: slmreg "
        "roots add PATH",
    )
