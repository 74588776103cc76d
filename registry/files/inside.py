"""Names of files, as strangers wrote them into other files: they may only mean what lies in the same folder."""

from __future__ import annotations

from functools import lru_cache
from pathlib import PureWindowsPath

from registry.errors import InvalidModelFolder
from registry.problems import ProblemCode


def inside(name: str, *, named_by: str) -> str:
    """``name`` if it can only mean a file inside the folder. The text decides. Raises InvalidModelFolder."""
    plain = _plain(name)
    if plain is None:
        raise InvalidModelFolder(
            ProblemCode.PATH_LEAVES_FOLDER,
            f"{named_by} names the file {name[:200]!r}, which is not inside the model's folder. Such a model is not "
            "loaded: put the file into the folder and correct the name.",
            file=named_by,
        )
    return plain


@lru_cache(maxsize=1024)
def _plain(name: str) -> str | None:
    """``name`` without empty parts and dots, None if it leads elsewhere. Most models use the same few names."""
    windows = PureWindowsPath(name)
    if windows.is_absolute() or windows.drive or windows.root or ".." in windows.parts or "\0" in name:
        return None
    return "/".join(part for part in name.split("/") if part not in ("", "."))
