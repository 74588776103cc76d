"""Models that Foundry Local knows outside of its usual cache: registered by their path, or in a cache that was moved.

``foundry.local.modelinfo.json`` in a cache (SDK 2.2 and later) names folders anywhere on the disk.
``foundry.config.json`` of the command line says where ``foundry cache cd`` has moved the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from registry.errors import InvalidModelFolder
from registry.files.documents import read_json_object
from registry.files.listing import exists, is_text
from registry.layouts.foundry import CatalogEntry, read_entry, read_models
from registry.layouts.kinds import GENAI_CONFIG_FILE
from registry.problems import ProblemCode

REGISTRATIONS_FILE = "foundry.local.modelinfo.json"
SETTINGS_FILE = "foundry.config.json"


@dataclass(frozen=True, slots=True)
class Registration:
    """A folder that a Foundry application has registered under ``id``, ``name:version``; None if that is no text."""

    path: Path
    id: str | None
    entry: CatalogEntry

    @property
    def is_followed(self) -> bool:
        """Only a model is: a file from elsewhere must not make slmreg walk the whole disk."""
        return exists(self.path / GENAI_CONFIG_FILE)

    @property
    def fault(self) -> str | None:
        """Why it is not followed, or None."""
        if self.is_followed:
            return None
        return f"{self.path} has no {GENAI_CONFIG_FILE}." if exists(self.path) else f"{self.path} is not there."


@dataclass(frozen=True, slots=True)
class Registrations:
    """``faults`` says what was refused in the file, and why."""

    folders: tuple[Registration, ...] = ()
    faults: tuple[str, ...] = ()


def read_registrations(cache: Path) -> Registrations:
    """The folders registered in a cache by their path. Raises InvalidModelFolder if nothing of them can be read.

    All three versions of the file: 1 keeps an id beside the path, 2 and 3 a ``model_info`` like those of the catalog.
    """
    faults: list[str] = []
    folders: dict[Path, Registration] = {}
    for fields in read_models(cache / REGISTRATIONS_FILE, faults):
        path = fields.text("model_path")
        refusal = _refusal(path)
        if path is None or refusal is not None:
            faults.append(f"{path!r:.300} {refusal}")
            continue
        info = fields.child("model_info") or fields
        model_id = info.text("id") or fields.text("model_id")
        folders.setdefault(Path(path), Registration(Path(path), model_id, read_entry(info)))
    return Registrations(tuple(folders.values()), tuple(faults))


def moved_cache(foundry_home: Path) -> Path | None:
    """Where the settings of Foundry's command line say that its cache is; None if they say nothing that can be used."""
    path = foundry_home / SETTINGS_FILE
    if not exists(path):
        return None
    try:
        cache = read_json_object(path, ProblemCode.CATALOG_INVALID).child("serviceSettings").text("cacheDirectoryPath")
    except InvalidModelFolder:
        return None
    return Path(cache) if cache is not None and _refusal(cache) is None else None


def _refusal(path: str | None) -> str | None:
    """Why a path in one of Foundry's files is not followed."""
    if not path:
        return "is no path."
    if not is_text(path) or "\0" in path:
        return "has characters that cannot be used."
    if not Path(path).is_absolute():
        return "is not an absolute path on this machine."
    return "leads over '..', which Foundry refuses too." if ".." in Path(path).parts else None
