"""``scan``: every model folder under some roots, read or reported. One bad folder never stops a scan."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from registry.errors import InvalidModelFolder
from registry.files.listing import MODEL_MARKERS, exists, is_downloading, is_text, resolved
from registry.files.system_folders import system_folders
from registry.layouts.encoder import MODULES_FILE
from registry.layouts.foundry import Catalog, read_catalog
from registry.layouts.hub import HubRepository, is_other_repository_name, is_repository_name
from registry.layouts.kinds import PACKAGE_MANIFEST_FILE, TRANSFORMERS_CONFIG_FILE
from registry.layouts.registrations import REGISTRATIONS_FILE, Registration, Registrations, read_registrations
from registry.model import Model, Root, ScanReport, Source
from registry.place import Place
from registry.problems import ProblemCode
from registry.walk import Walk

# publisher / model / version / variant / precision is five below a root; nobody was seen to nest deeper than seven.
DEFAULT_MAX_DEPTH = 8
_NO_MODELS: Mapping[Path, Model] = {}
# Sources whose roots may hold Foundry's files.
_FOUNDRY_LIKE = (Source.FOUNDRY, Source.FOLDER)
# A folder with one of these means something only together with those below it.
_WHOLES = (*MODEL_MARKERS, PACKAGE_MANIFEST_FILE, MODULES_FILE)


def scan(
    roots: Iterable[Root],
    *,
    known: Mapping[Path, Model] = _NO_MODELS,
    under: Path | None = None,
    max_depth: int = DEFAULT_MAX_DEPTH,
    allowed_libraries: frozenset[str] = frozenset(),
) -> ScanReport:
    """Walk the roots, or only the part of them that lies ``under`` one folder, and read every model folder.

    A ``known`` READY model whose files have the same names, sizes and times is only listed in ``unchanged``. Roots
    that are not enabled are passed over, also inside of others. Hidden folders are passed over and linked folders are
    not entered, except where they are roots themselves. ``allowed_libraries``: see ``Surroundings``.
    """
    started = time.perf_counter()
    every = _distinct(roots)
    enabled = [root for root in every if root.is_enabled]
    walk = Walk(known, every, closed=system_folders(), max_depth=max_depth, allowed_libraries=allowed_libraries)
    registered = _Registered(walk, enabled)
    covered = []
    for root, start in _starts(enabled, under, max_depth):
        place = _place(walk, root, start, registered)
        if walk.start(str(start), place, depth=len(start.relative_to(root.path).parts)):
            covered.append(start)
    if under is None:
        covered += _out_of_reach(walk, enabled)
    return ScanReport(
        models=tuple(model for _path, model in sorted(walk.models.items())),
        problems=tuple(problem for _path, problem in sorted(walk.problems.items())),
        covered=tuple(covered),
        seconds=time.perf_counter() - started,
        unchanged=frozenset(walk.unchanged.values()),
    )


def _distinct(roots: Iterable[Root]) -> tuple[Root, ...]:
    """Each folder once, the first mention wins."""
    by_path: dict[Path, Root] = {}
    for root in roots:
        by_path.setdefault(root.path, root)
    return tuple(by_path.values())


def _out_of_reach(walk: Walk, roots: Sequence[Root]) -> list[Path]:
    """Known folders under no root: what was found under a root that is no longer one is gone."""
    tops = tuple(str(root.path).rstrip(os.sep) + os.sep for root in roots)
    return [Path(path) for path in walk.unseen() if not f"{path}{os.sep}".startswith(tops)]


class _Registered:
    """What Foundry's caches among the roots say about folders that were registered by their path."""

    def __init__(self, walk: Walk, roots: Sequence[Root]) -> None:
        self._walk = walk
        self._by_cache = {root.path: self._read(root.path) for root in roots if root.source in _FOUNDRY_LIKE}
        self._by_path: dict[Path, Registration] = {}
        for registrations in self._by_cache.values():
            for registration in registrations.folders:
                self._by_path.setdefault(resolved(registration.path), registration)

    def find(self, path: Path) -> Registration | None:
        return self._by_path.get(path)

    def report_faults(self, cache: Path) -> None:
        """Of one cache, beside the file itself: the folders that it names lie elsewhere, or nowhere."""
        registrations = self._by_cache.get(cache, Registrations())
        gone = [each.fault for each in registrations.folders if each.fault]
        faults = [*registrations.faults, *gone]
        if faults:
            error = InvalidModelFolder(
                ProblemCode.CATALOG_INVALID,
                f"{len(faults)} models that are registered here cannot be used: {' '.join(faults)} Put them back, or "
                "register them again in the application that did.",
                file=REGISTRATIONS_FILE,
            )
            self._walk.report(str(cache / REGISTRATIONS_FILE), error)

    def _read(self, cache: Path) -> Registrations:
        try:
            return read_registrations(cache)
        except InvalidModelFolder as error:
            return Registrations(faults=(error.message,))


def _place(walk: Walk, root: Root, start: Path, registered: _Registered) -> Place:
    """What is known of ``start`` before it is looked at. Faults of a root's own files belong to a walk of all of it."""
    catalog = Catalog()
    if root.source in _FOUNDRY_LIKE:
        catalog = _catalog(walk, root, is_whole=start == root.path)
        if start == root.path:
            registered.report_faults(root.path)
    registration = registered.find(start)
    if registration is not None and not catalog.entries:
        catalog = Catalog(default=registration.entry)
    repository, commit = _in_repository(start)
    return Place(root, catalog, registration, repository, commit, is_downloading(start, (root.path,)))


def _catalog(walk: Walk, root: Root, *, is_whole: bool) -> Catalog:
    try:
        catalog = read_catalog(root.path)
        if catalog.fault is None:
            return catalog
        error = InvalidModelFolder(ProblemCode.CATALOG_INVALID, catalog.fault)
    except InvalidModelFolder as unreadable:
        catalog, error = Catalog(), unreadable
    if is_whole:
        walk.report(str(root.path), error)
    return catalog


def _starts(roots: Sequence[Root], under: Path | None, max_depth: int) -> Iterator[tuple[Root, Path]]:
    """Where to start walking, and for which root."""
    if under is None:
        yield from ((root, root.path) for root in roots)
        return
    # A folder whose name is no text is its parent's problem, as in a scan of everything.
    under = next(folder for folder in (under, *under.parents) if is_text(str(folder)))
    owners = [root for root in roots if under.is_relative_to(root.path)]
    if owners:
        owner = max(owners, key=lambda root: len(root.path.parts))
        yield owner, _start(owner.path, under, max_depth)
    yield from ((root, root.path) for root in roots if root.path != under and root.path.is_relative_to(under))


def _start(root: Path, under: Path, max_depth: int) -> Path:
    """The last folder on the way to ``under`` that a scan of everything would come to, and looks at as a whole.

    A folder inside a model stands for that model, one inside a repository of a Hugging Face cache for the repository.
    """
    folder = root
    for depth, part in enumerate((*under.relative_to(root).parts, ""), start=1):
        is_whole = is_repository_name(folder.name) or any(exists(folder / name) for name in _WHOLES)
        if not part or is_whole or depth > max_depth:
            break
        if part.startswith(".") or is_other_repository_name(part) or (folder / part).is_symlink():
            break
        if part == "onnx" and exists(folder / TRANSFORMERS_CONFIG_FILE):
            break
        folder /= part
    return folder


def _in_repository(folder: Path) -> tuple[HubRepository | None, str | None]:
    """The repository of a Hugging Face cache that ``folder`` is or lies in, and of which commit it holds the files."""
    path = next((each for each in (folder, *folder.parents) if is_repository_name(each.name)), None)
    repository = HubRepository(path) if path is not None else None
    if path is None or repository is None or not repository.revisions:
        return None, None
    match folder.relative_to(path).parts:
        case () | ("snapshots",):
            return repository, None
        case ("snapshots", commit, *_):
            return repository, commit
    return None, None
