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
# Possessive: what was passed over is not kept to come back to, however long the string.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class UnusableJson(ValueError):
    """Says what is wrong, without a word of what stands in the body but the name of a key."""


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """``items`` are objects and arrays together."""

    depth: int
    items: int

    def check(self, body: bytes) -> None:
        """Raises UnusableJson. Takes microseconds for the usual request: most have fewer brackets than the limit."""
        brackets = body.count(b"[") + body.count(b"{")
        if brackets > self.depth:
            self._count(_STRING.sub(b"", body).translate(None, _NOT_BRACKETS))
        try:
            _READER.decode(body.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise UnusableJson("it is not UTF-8") from None
        except json.JSONDecodeError as error:
            raise UnusableJson(f"{error.msg} at character {error.pos}") from None
        except RecursionError:
            raise UnusableJson("it is nested too deeply") from None

    def _count(self, brackets: bytes) -> None:
        """``brackets`` are those outside of strings. Peels off the innermost ones until none is left, or too often."""
        if brackets.count(b"[") + brackets.count(b"{") > self.items:
            raise UnusableJson(f"it has more than max_json_items = {self.items} objects and arrays")
        for _depth in range(self.depth):
            peeled = brackets.replace(b"[]", b"").replace(b"{}", b"")
            if len(peeled) == len(brackets):  # none is left, or they do not match, as the reader will say
                return
            brackets = peeled
        if brackets:
            raise UnusableJson(f"it is nested more than max_json_depth = {self.depth} deep")


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


_READER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_finite, parse_constant=_no_constant
)
