"""The Hugging Face hub's cache: which repository and revision a folder in it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HubRevision:
    """``repository`` is ``publisher/name``, ``revision`` a commit, ``refs`` the names that point at it."""

    repository: str
    revision: str
    refs: tuple[str, ...]
    path: Path
