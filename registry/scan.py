"""``scan``: every model folder under some roots, read or reported. One bad folder never stops a scan."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from registry.documents import unreadable
from registry.errors import InvalidModelFolder
from registry.folder import Surroundings, model_fingerprint, read_model_folder
from registry.foundry import Catalog, read_catalog
from registry.listing import (
    DOWNLOAD_MARKER,
    MODEL_MARKERS,
    FileStat,
    exists,
    fingerprint,
    is_directory,
    is_downloading,
    is_text,
    list_files,
)
from registry.model import FolderProblem, Model, Root, ScanReport, Status
from registry.problems import ProblemCode, status_of

# publisher / model / version / variant / precision is five below a root; nobody was seen to nest deeper than seven.
DEFAULT_MAX_DEPTH = 8
_NO_MODELS: Mapping[Path, Model] = {}


def scan(
    roots: Iterable[Root],
    *,
    known: Mapping[Path, Model] = _NO_MODELS,
    under: Path | None = None,
    max_depth: int = DEFAULT_MAX_DEPTH,
) -> ScanReport:
    """Walk the roots, or only the part of them that lies ``under`` one folder, and read every model folder.

    A ``known`` READY model whose files have the same names, sizes and times is taken over without reading it again.
    Hidden folders are passed over and linked folders are not entered, except where they are roots themselves.
    """
    started = time.perf_counter()
    roots = _distinct(roots)
    walk = _Walk(known, frozenset(root.path for root in roots), max_depth)
    covered = []
    for root, start in _starts(roots, under):
        walk.root(root, start)
        covered.append(start)
    if under is None:
        # What was found under a root that is no longer one is out of reach too.
        covered += [path for path in known if not any(path.is_relative_to(root.path) for root in roots)]
    return ScanReport(
        models=tuple(walk.models.values()),
        problems=tuple(walk.problems.values()),
        covered=tuple(covered),
        seconds=time.perf_counter() - started,
    )


def _distinct(roots: Iterable[Root]) -> tuple[Root, ...]:
    """Each folder once, the first mention wins."""
    by_path: dict[Path, Root] = {}
    for root in roots:
        by_path.setdefault(root.path, root)
    return tuple(by_path.values())


def _starts(roots: Sequence[Root], under: Path | None) -> Iterator[tuple[Root, Path]]:
    """Where to start walking, and for which root. A folder inside a model stands for that model."""
    if under is None:
        yield from ((root, root.path) for root in roots)
        return
    # A folder whose name is no text is its parent's problem, as in a scan of everything.
    under = next(folder for folder in (under, *under.parents) if is_text(str(folder)))
    owners = [root for root in roots if under.is_relative_to(root.path)]
    if owners:
        owner = max(owners, key=lambda root: len(root.path.parts))
        start = under
        for folder in (under, *under.parents):
            if not folder.is_relative_to(owner.path):
                break
            if any(exists(folder / marker) for marker in MODEL_MARKERS):
                start = folder
        yield owner, start
    yield from ((root, root.path) for root in roots if root.path != under and root.path.is_relative_to(under))


@dataclass(slots=True)
class _Walk:
    """One scan in progress. Problems and models by folder; a folder never has both."""

    known: Mapping[Path, Model]
    root_paths: frozenset[Path]
    max_depth: int
    models: dict[Path, Model] = field(default_factory=dict)
    problems: dict[Path, FolderProblem] = field(default_factory=dict)

    def root(self, root: Root, start: Path) -> None:
        above = [folder for folder in start.parents if folder.is_relative_to(root.path)]
        surroundings = Surroundings(root.path, root.source, self._catalog(root), is_downloading(start, (root.path,)))
        self._directory(start, surroundings, depth=len(above))

    def _catalog(self, root: Root) -> Catalog:
        try:
            return read_catalog(root.path)
        except InvalidModelFolder as error:
            self._problem(root.path, error)
            return Catalog()

    def _directory(self, path: Path, surroundings: Surroundings, depth: int) -> bool:
        """Walk ``path`` and what is below; True if there is a model or a problem anywhere in it."""
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            self._unreadable(path, error)
            return True
        names = {entry.name for entry in found}
        is_model = any(marker in names for marker in MODEL_MARKERS)
        if is_model:
            self._model(path, surroundings)
        inner = replace(surroundings, is_downloading=surroundings.is_downloading or DOWNLOAD_MARKER in names)
        is_below = False
        if depth < self.max_depth:
            # Not any(): every folder is to be visited.
            is_below = max([self._entry(entry, inner, depth + 1) for entry in found], default=False)
        leftover = min(filter(_is_leftover, names), default=None)
        if not (is_model or is_below) and leftover is not None:
            self._problem(path, _unfinished(leftover))
            return True
        return is_model or is_below

    def _entry(self, entry: os.DirEntry[str], surroundings: Surroundings, depth: int) -> bool:
        path = Path(entry.path)
        if not is_directory(path) or path in self.root_paths:
            return False
        if not is_text(entry.name):
            self._problem(path.parent, _not_utf8(entry.name))
            return True
        if entry.name.startswith("."):
            return False
        if entry.is_symlink():
            return self._link(path)
        return self._directory(path, surroundings, depth)

    def _model(self, path: Path, surroundings: Surroundings) -> None:
        try:
            files = _list_files(path)
            known = self.known.get(path)
            if known is not None and _is_unchanged(known, fingerprint(files), surroundings):
                self.models[path] = known
            else:
                self.models[path] = read_model_folder(path, surroundings, files)
        except InvalidModelFolder as error:
            self._problem(path, error)

    def _link(self, path: Path) -> bool:
        """A linked folder is not entered: it may lead anywhere, and in circles. If it is a model, that is said."""
        target = _target(path)
        if target is None or target in self.known or not any(exists(target / marker) for marker in MODEL_MARKERS):
            return False
        if any(target.is_relative_to(root) for root in self.root_paths):
            return False
        self._problem(
            path,
            InvalidModelFolder(
                ProblemCode.LINK_NOT_FOLLOWED,
                f"This is a link to {target}, which is outside of every model root, and links are not followed. "
                f"Add the folder itself: slmreg roots add {target.parent}",
            ),
        )
        return True

    def _unreadable(self, path: Path, error: OSError) -> None:
        """The folder, and each known model below it: nobody can say that they are gone."""
        problem = unreadable(path, error)
        for affected in (path, *(known for known in self.known if known != path and known.is_relative_to(path))):
            self._problem(affected, problem)

    def _problem(self, path: Path, error: InvalidModelFolder) -> None:
        # A cache's root can have a broken catalog and be a broken model: the model's problem is the one to know.
        self.problems[path] = FolderProblem(path, str(error.code), error.message, error.file, status_of(error.code))


def _list_files(path: Path) -> tuple[FileStat, ...]:
    try:
        return list_files(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _is_unchanged(known: Model, files: str, surroundings: Surroundings) -> bool:
    if surroundings.is_downloading or known.status is not Status.READY or known.source is not surroundings.source:
        return False
    entry = surroundings.catalog.find(known.name, known.version)
    return known.fingerprint == model_fingerprint(files, entry)


def _target(path: Path) -> Path | None:
    try:
        return path.resolve(strict=True)
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
