"""Native libraries that came with a model: loading it would run their code, so a person has to allow each one.

What is allowed is the file's content, by its SHA-256: a library that changes is blocked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import PurePath

from registry.errors import InvalidModelFolder
from registry.files.inside import inside
from registry.layouts.kinds import GENAI_CONFIG_FILE
from registry.notes import Notes
from registry.problems import ProblemCode
from registry.reading.reader import FolderReader

_BLOCK_BYTES = 1024**2
_MAX_LIBRARY_BYTES = 4 * 1024**3


def first_library(
    reader: FolderReader, named: Iterable[str], system: Iterable[str], allowed: frozenset[str], notes: Notes
) -> str | None:
    """The library that is not ``allowed``, noted as a problem; else the first one; None if the model has none.

    ``system`` are names for which the operating system's own folders are searched: they only count if there is such a
    file in the model's folder. Raises InvalidModelFolder for one that nobody could allow: it is not in the folder.
    """
    libraries = [_in_folder(reader, name) for name in named]
    libraries += [_in_folder(reader, name) for name in system if name in reader or PurePath(name).name != name]
    for library in libraries:
        if not allowed or library_digest(reader, library) not in allowed:
            notes.add(
                ProblemCode.CUSTOM_OPS_LIBRARY,
                f"Loading this model runs the native code in {library}, which came with it. If you trust it, allow it "
                "with slmreg allow MODEL; else use a build without custom operators.",
                library,
            )
            return library
    return libraries[0] if libraries else None


def library_digest(reader: FolderReader, name: str) -> str:
    """SHA-256 of a file, in hexadecimal. Raises InvalidModelFolder."""
    digest = hashlib.sha256()
    with reader.open(name) as file:
        for offset in range(0, min(file.size_bytes, _MAX_LIBRARY_BYTES), _BLOCK_BYTES):
            digest.update(file.read_at(offset, _BLOCK_BYTES))
    return digest.hexdigest()


def _in_folder(reader: FolderReader, named: str) -> str:
    name = inside(named, named_by=GENAI_CONFIG_FILE)
    if name in reader:
        return name
    shown = named[:100].encode("utf-8", "backslashreplace").decode()
    raise InvalidModelFolder(
        ProblemCode.CUSTOM_OPS_LIBRARY,
        f"The model asks for the native library {shown!r}, which is not in its folder. It is refused: put the library "
        "into the folder, or use a build without custom operators.",
        file=GENAI_CONFIG_FILE,
    )
