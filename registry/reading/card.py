"""What a model card says: the block of settings at the top of ``README.md``, as the Hugging Face hub defines it.

The block is YAML written by strangers. Only what is asked for here is looked at, line by line, and never evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from registry.errors import InvalidModelFolder
from registry.problems import ProblemCode
from registry.reading.languages import language_of
from registry.reading.reader import FolderReader

CARD_FILE = "README.md"
_MAX_CARD_BYTES = 64 * 1024
# A block that names a hundred languages has 1,500 characters; those that are longer list results of benchmarks.
_SETTINGS = re.compile(r"\A(?:\ufeff)?---\r?\n(.{0,16000}?)\n---", re.DOTALL)
_LICENSE = re.compile(r"^license:[ \t]{0,4}[\"']?([A-Za-z0-9][A-Za-z0-9 .+-]{0,60})", re.MULTILINE)
_LANGUAGE_KEY = "language:"
_ITEM = re.compile(r"\s*-\s")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_AROUND_A_NAME = " \t\r\"'[]-"


@dataclass(frozen=True, slots=True)
class Card:
    """``license`` is its short name (``mit``), None where the card says none; ``languages`` are ISO 639-1 codes."""

    license: str | None = None
    languages: tuple[str, ...] = ()


def read_card(reader: FolderReader) -> Card:
    """What nobody says is left empty; so is everything where there is no card, or none that can be read."""
    if not 0 < reader.sizes.get(CARD_FILE, 0) <= _MAX_CARD_BYTES:
        return Card()
    try:
        return card_of(reader.text(CARD_FILE, ProblemCode.UNREADABLE))
    except InvalidModelFolder:
        return Card()


def card_of(text: str) -> Card:
    """What is in the text of a card."""
    block = _SETTINGS.match(text)
    settings = block[1] if block else ""
    found = _LICENSE.search(settings)
    codes = (language_of(name) for name in _languages(settings.split("\n")))
    return Card(
        license=found[1].strip() if found else None,
        languages=tuple(dict.fromkeys(code for code in codes if code is not None)),
    )


def _languages(lines: Iterable[str]) -> Iterator[str]:
    """The values of ``language``: one, several in brackets, which may go on over lines, or a list below it."""
    rest = iter([_COMMENT.sub("", line) for line in lines])
    value = next((line for line in rest if line.startswith(_LANGUAGE_KEY)), "").removeprefix(_LANGUAGE_KEY).strip()
    while value.startswith("[") and "]" not in value and (line := next(rest, None)) is not None:
        value += line
    names = value.split(",") if value else takewhile(_ITEM.match, filter(str.strip, rest))
    yield from (name.strip(_AROUND_A_NAME) for name in names)
