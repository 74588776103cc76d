"""Where models live on this machine: Foundry caches, the Hugging Face cache, folders that a person added, the demo."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from registry.errors import InvalidModelFolder
from registry.files.listing import exists, is_directory, resolved
from registry.layouts.registrations import moved_cache, read_registrations
from registry.model import Root, RootChoice, Source

FOUNDRY_CACHES_VARIABLE = "SLMREG_FOUNDRY_CACHES"
HF_CACHE_VARIABLE = "SLMREG_HF_CACHE"
DEMO_ROOT = Path(__file__).parent / "demo_model"
# A home directory has some dozens of hidden folders; this bounds a pathological one.
_MAX_APPS = 500


def find_roots(
    environment: Mapping[str, str], choices: Iterable[RootChoice] = (), *, home: Path | None = None
) -> tuple[Root, ...]:
    """Every root, each folder once, the demo model last; those of a person or of slmreg's variables also if not there.

    ``home`` is the home directory, by default that of ``environment``. ``SLMREG_FOUNDRY_CACHES`` (separated like PATH)
    replaces the search for Foundry's caches and ``SLMREG_HF_CACHE`` (one folder) that for the Hugging Face hub's; an
    empty one means none. What a person has switched off is in the result too, with ``is_enabled`` False.
    """
    home = home or _home(environment)
    decided = {resolved(choice.path): choice for choice in choices}
    roots: dict[Path, Root] = {}
    for root in _found(environment, home, decided):
        known = roots.setdefault(root.path, root)
        roots[root.path] = replace(known, added_by_user=known.added_by_user or root.added_by_user)
    return tuple(_as_decided(root, decided) for root in roots.values())


def _found(environment: Mapping[str, str], home: Path, decided: Mapping[Path, RootChoice]) -> Iterator[Root]:
    """Of a folder that is found in several ways, the first says what kind it is."""
    added = [path for path, choice in decided.items() if choice.is_added]
    caches = _foundry_caches(environment, home)
    for cache in caches:
        yield Root(cache, Source.FOUNDRY, exists=is_directory(cache))
    hub = _hub_cache(environment, home)
    if hub is not None:
        yield Root(hub, Source.HUGGING_FACE, exists=is_directory(hub))
    for path in added:
        yield Root(path, Source.FOLDER, exists=is_directory(path), added_by_user=True)
    for cache in (*caches, *added):
        # One switch for a cache and for what is registered in it, unless that has one of its own.
        is_enabled = cache not in decided or decided[cache].is_enabled
        for path in _registered(cache):
            yield Root(path, Source.FOUNDRY, exists=is_directory(path), is_enabled=is_enabled)
    yield Root(resolved(DEMO_ROOT), Source.DEMO, exists=is_directory(DEMO_ROOT))


def _as_decided(root: Root, decided: Mapping[Path, RootChoice]) -> Root:
    choice = decided.get(root.path)
    return root if choice is None else replace(root, is_enabled=choice.is_enabled, settle_s=choice.settle_s)


def _foundry_caches(environment: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    named = environment.get(FOUNDRY_CACHES_VARIABLE)
    if named is not None:
        return tuple(resolved(_expanded(part, home)) for part in named.split(os.pathsep) if part.strip())
    moved = moved_cache(home / ".foundry")
    return (*_caches_under(home), *((resolved(moved),) if moved else ()))


def _caches_under(home: Path) -> tuple[Path, ...]:
    """``~/.<app>/cache/models`` of every app built on Foundry's SDK, and of its command line (``.foundry``)."""
    try:
        with os.scandir(home) as entries:
            apps = sorted(entry.name for entry in entries if entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return ()
    # The previews of Foundry Local, and the AI Toolkit, kept theirs one folder higher.
    caches = [*(home / app / "cache" / "models" for app in apps[:_MAX_APPS]), home / ".aitk" / "models"]
    return tuple(resolved(cache) for cache in caches if is_directory(cache))


def _registered(cache: Path) -> Iterator[Path]:
    """Folders that a cache names by their path. One that is not there stays a root: it may come back."""
    try:
        registrations = read_registrations(cache)
    except InvalidModelFolder:  # a scan of the cache reports it
        return
    for registration in registrations.folders:
        if registration.is_followed or not exists(registration.path):
            yield resolved(registration.path)


def _hub_cache(environment: Mapping[str, str], home: Path) -> Path | None:
    """As huggingface_hub looks for it: the most particular of its variables first."""
    named = environment.get(HF_CACHE_VARIABLE)
    if named is not None:
        return resolved(_expanded(named, home)) if named.strip() else None
    direct = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    hf_home = environment.get("HF_HOME")
    general = environment.get("XDG_CACHE_HOME") or str(home / ".cache")
    cache = _expanded(direct, home) if direct else _expanded(hf_home or f"{general}/huggingface", home) / "hub"
    return resolved(cache) if is_directory(cache) else None


def _expanded(text: str, home: Path) -> Path:
    """With ``~`` for ``home``."""
    path = Path(text.strip())
    return home.joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path


def _home(environment: Mapping[str, str]) -> Path:
    named = environment.get("USERPROFILE" if os.name == "nt" else "HOME")
    return Path(named) if named else Path.home()
