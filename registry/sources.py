"""Where models live on this machine: Foundry caches, the folders a person added, and the demo model that ships here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from registry.listing import is_directory
from registry.model import Root, RootChoice, Source

FOUNDRY_CACHES_VARIABLE = "SLMREG_FOUNDRY_CACHES"
DEMO_ROOT = Path(__file__).parent / "demo_model"
# A home directory has some dozens of hidden folders; this bounds a pathological one.
_MAX_APPS = 500


def find_roots(
    environment: Mapping[str, str], choices: Iterable[RootChoice] = (), *, home: Path | None = None
) -> tuple[Root, ...]:
    """Every root, each folder once, the demo model last; those of a person or a variable also if they do not exist.

    ``home`` is the home directory, by default that of ``environment``. ``SLMREG_FOUNDRY_CACHES`` (separated like PATH;
    empty means none) replaces the search for Foundry's caches.
    """
    roots = [
        *(Root(path, Source.FOUNDRY, exists=is_directory(path)) for path in _foundry_caches(environment, home)),
        *(
            Root(path, Source.FOLDER, exists=is_directory(path), added_by_user=True)
            for path in (_resolved(choice.path) for choice in choices if choice.is_added)
        ),
        Root(_resolved(DEMO_ROOT), Source.DEMO, exists=is_directory(DEMO_ROOT)),
    ]
    by_path: dict[Path, Root] = {}
    for root in roots:
        by_path.setdefault(root.path, root)
    return tuple(by_path.values())


def _foundry_caches(environment: Mapping[str, str], home: Path | None) -> tuple[Path, ...]:
    named = environment.get(FOUNDRY_CACHES_VARIABLE)
    if named is not None:
        return tuple(_resolved(Path(part).expanduser()) for part in named.split(os.pathsep) if part.strip())
    return _caches_under(home or _home(environment))


def _caches_under(home: Path) -> tuple[Path, ...]:
    """``~/.<app>/cache/models`` of every app built on Foundry's SDK, and of its command line (``.foundry``)."""
    try:
        with os.scandir(home) as entries:
            apps = sorted(entry.name for entry in entries if entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return ()
    caches = (home / app / "cache" / "models" for app in apps[:_MAX_APPS])
    return tuple(_resolved(cache) for cache in caches if is_directory(cache))


def _home(environment: Mapping[str, str]) -> Path:
    named = environment.get("USERPROFILE" if os.name == "nt" else "HOME")
    return Path(named) if named else Path.home()


def _resolved(path: Path) -> Path:
    """Absolute and without links, whether it exists or not, so that one folder has one path."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return path.absolute()
