"""The license of a model, from the model card that came with it: the block of settings at the top of ``README.md``."""

from __future__ import annotations

import re

from registry.errors import InvalidModelFolder
from registry.problems import ProblemCode
from registry.reading.reader import FolderReader

_CARD = "README.md"
_MAX_CARD_BYTES = 64 * 1024
_SETTINGS = re.compile(r"\A(?:\ufeff)?---\r?\n(.{0,4000}?)\n---", re.DOTALL)
_LICENSE = re.compile(r"^license:[ \t]{0,4}[\"']?([A-Za-z0-9][A-Za-z0-9 .+-]{0,60})", re.MULTILINE)


def license_of(reader: FolderReader) -> str | None:
    """The license's short name as the Hugging Face hub writes it (``mit``), None if there is no card that says it."""
    if not 0 < reader.sizes.get(_CARD, 0) <= _MAX_CARD_BYTES:
        return None
    try:
        text = reader.text(_CARD, ProblemCode.UNREADABLE)
    except InvalidModelFolder:
        return None
    settings = _SETTINGS.match(text)
    found = _LICENSE.search(settings[1]) if settings else None
    return found[1].strip() if found else None
