"""What a JSON body has to be before anything else looks at it: UTF-8, not too deep, not too many parts, unambiguous.

Python's own reader takes more than JSON (NaN, keys that come twice, numbers without end), and makes a hundred bytes of
memory out of two. Lengths and depths are checked before that happens.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

# Of 64 bits, with room; what is longer is no number that anything here takes.
MAX_DIGITS = 40
_SHOWN_CHARACTERS = 40
# Looking at each number takes five times as long as reading it, which millions of token ids should not.
_SMALL_BYTES = 16 * 1024
_ODD_NUMBER = re.compile(rb"\d{%d}|\d[eE][+]?\d\d" % MAX_DIGITS)
# Up to the next bracket that stands outside of texts, or the end. Possessive: what was passed over is not kept to come
# back to, however long it is.
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+"?)*+([\[\]{}]|\Z)', re.DOTALL)


class UnusableJson(ValueError):
    """Says what is wrong, without a word of what stands in the body but the name of a key."""


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """``items`` are objects and arrays together."""

    depth: int
    items: int

    def check(self, body: bytes) -> None:
        """Raises UnusableJson. Takes microseconds for the usual request: most have fewer brackets than the limit."""
        if body.count(b"[") + body.count(b"{") > self.depth:
            self._count(body)
        has_odd_numbers = len(body) < _SMALL_BYTES or _ODD_NUMBER.search(body) is not None
        try:
            (_CAREFUL_READER if has_odd_numbers else _READER).decode(body.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise UnusableJson("it is not UTF-8") from None
        except json.JSONDecodeError as error:
            raise UnusableJson(f"{error.msg} at character {error.pos}") from None
        except RecursionError:
            raise UnusableJson("it is nested too deeply") from None

    def _count(self, body: bytes) -> None:
        """Stops as soon as it is too much: what comes then costs nothing."""
        depth = items = 0
        for found in _TO_BRACKET.finditer(body):
            if found[1] not in (b"[", b"{"):
                depth -= 1
                continue
            depth, items = depth + 1, items + 1
            if depth > self.depth:
                raise UnusableJson(f"it is nested more than max_json_depth = {self.depth} deep")
            if items > self.items:
                raise UnusableJson(f"it has more than max_json_items = {self.items} objects and arrays")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    if len(whole) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _value in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise UnusableJson(f"the key {twice[:_SHOWN_CHARACTERS]!r} comes twice in one object")
    return whole


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise UnusableJson(f"it has a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise UnusableJson(f"{text[:_SHOWN_CHARACTERS]} is larger than any number can be")
    return number


def _no_constant(name: str) -> NoReturn:
    raise UnusableJson(f"{name} is no JSON")


_READER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
_CAREFUL_READER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer, parse_float=_finite
)
