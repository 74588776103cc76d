"""What is in a model's files, in one short digest: equal for two copies, different for two fine-tunes of one base.

Times do not count, and gigabytes of weights are not read: of a large file its size and some pages of it stand for it
(``slmreg verify`` reads all). The work is bounded: 16 pages of each large file, 64 KB of each small one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from registry.errors import InvalidModelFolder
from registry.files.listing import FileStat, is_partial_name
from registry.reading.reader import FolderReader

# What people and systems put beside a model, and what explains it: none of it changes what the model is.
_OTHER_NAMES = frozenset({"thumbs.db", "desktop.ini", "license", "license.txt", "notice", "notice.txt"})
_OTHER_SUFFIXES = (".md", ".log", ".lock")
_DIGEST_CHARACTERS = 32


def content_digest(folder: Path, files: Iterable[FileStat]) -> str:
    """The digest of the ``files`` of ``folder``; a file that cannot be read stands with its name and size."""
    return digest_of(FolderReader(folder, files))


def digest_of(reader: FolderReader) -> str:
    """``content_digest`` of a folder that is being read."""
    digest = hashlib.sha256()
    for name, size_bytes in sorted(reader.sizes.items()):
        if not belongs_to_model(name):
            continue
        digest.update(f"\n{name}\0{size_bytes}\0".encode("utf-8", "surrogateescape"))
        for sample in _samples(reader, name, size_bytes):
            digest.update(sample)
    return digest.hexdigest()[:_DIGEST_CHARACTERS]


@lru_cache(maxsize=4096)
def belongs_to_model(name: str) -> bool:
    """False for hidden files, leftovers of downloads and texts for people; ``name`` is relative to the folder."""
    # Asked several times of each file, and most models have files of the same names.
    parts = name.lower().split("/")
    return not (
        any(part.startswith(".") for part in parts)
        or parts[-1] in _OTHER_NAMES
        or parts[-1].endswith(_OTHER_SUFFIXES)
        or is_partial_name(name)
    )


def _samples(reader: FolderReader, name: str, size_bytes: int) -> tuple[bytes, ...]:
    if size_bytes == 0:
        return ()
    try:
        return reader.samples(name)
    except InvalidModelFolder:
        return ()
