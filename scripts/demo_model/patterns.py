"""Questions as patterns with alternatives, so that one line stands for hundreds of wordings.

``(show|list|)`` picks one alternative (an empty one is allowed), ``<how>`` stands for a named pattern, ``{slot}`` is
left for the caller to fill. Patterns nest.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import product

from scripts.demo_model import data

MACROS = data.read("patterns")

_TOKEN = re.compile(r"[()|]|<\w+>|[^()|<]+|<")
_LETTERS = re.compile(r"[a-z]{4,}")
_SLOT = re.compile(r"(\{\w+\})")


def is_plain(pattern: str) -> bool:
    """True for a text that has one wording and no slot."""
    return not any(character in pattern for character in "(<{")


def sample(pattern: str, rng: random.Random) -> str:
    """One wording of ``pattern``; every alternative of a group is equally likely."""
    text = _sample_sequence(_TOKEN.findall(pattern), rng)
    return _tidy(text)


def expand(pattern: str) -> Iterator[str]:
    """Every wording of ``pattern``, in a fixed order."""
    for text in _expand_tokens(_TOKEN.findall(pattern)):
        yield _tidy(text)


def _tidy(text: str) -> str:
    return re.sub(r" +([?!.,])", r"\1", re.sub(r" {2,}", " ", text)).strip()


def _groups(tokens: list[str]) -> list[list[list[str]]]:
    """The alternatives of each top-level part: plain text has one, a group as many as it has bars plus one."""
    parts: list[list[list[str]]] = []
    depth = 0
    for piece in tokens:
        if piece == "(":
            depth += 1
            if depth == 1:
                parts.append([[]])
                continue
        elif piece == ")":
            depth -= 1
            if depth == 0:
                continue
        elif piece == "|" and depth == 1:
            parts[-1].append([])
            continue
        if depth == 0:
            parts.append([[piece]])
        else:
            parts[-1][-1].append(piece)
    if depth:
        raise ValueError(f"unbalanced brackets in the pattern {''.join(tokens)!r}")
    return parts


def _is_group(alternatives: list[list[str]]) -> bool:
    return len(alternatives) > 1 or len(alternatives[0]) != 1 or alternatives[0][0].startswith("<")


def _inner(tokens: list[str]) -> list[str]:
    if len(tokens) == 1 and tokens[0][1:-1] in MACROS:
        return _TOKEN.findall(MACROS[tokens[0][1:-1]])
    return tokens


def _sample_sequence(tokens: list[str], rng: random.Random) -> str:
    text = ""
    for alternatives in _groups(tokens):
        chosen = rng.choice(alternatives) if len(alternatives) > 1 else alternatives[0]
        text += _sample_sequence(_inner(chosen), rng) if _is_group(alternatives) else chosen[0]
    return text


def _expand_tokens(tokens: list[str]) -> Iterator[str]:
    choices = [
        [text for chosen in alternatives for text in _expand_tokens(_inner(chosen))]
        if _is_group(alternatives)
        else alternatives[0]
        for alternatives in _groups(tokens)
    ]
    for combination in product(*choices):
        yield "".join(combination)


def add_noise(question: str, rng: random.Random) -> str:
    """The way people type: capitals, punctuation, politeness, now and then a typing error. Slots stay as they are."""
    question = question.rstrip("?!. ")
    if rng.random() < 0.08:
        question = rng.choice(["please ", "hey, ", "hi, ", "ok, ", "so ", "and ", "now ", "well, "]) + question
    if rng.random() < 0.06:
        question += rng.choice([" please", ", please", " thanks", ", thank you", " now"])
    if rng.random() < 0.06:
        question = _misspell(question, rng)
    style = rng.random()
    if style < 0.6:
        question = question[:1].upper() + question[1:]
    elif style < 0.63:
        question = "".join(part if _SLOT.fullmatch(part) else part.upper() for part in _SLOT.split(question))
    return question + rng.choice(["", "", "?", "?", "?", ".", "!"])


def _misspell(question: str, rng: random.Random) -> str:
    """Drops, doubles or swaps one letter inside one longer word outside slots."""
    words = [
        match for match in _LETTERS.finditer(question) if "{" not in question[max(0, match.start() - 1) : match.start()]
    ]
    if not words:
        return question
    at = (word := rng.choice(words)).start() + rng.randrange(1, len(word.group()) - 1)
    first, second = question[at], question[at + 1]
    return question[:at] + rng.choice([second, first * 2 + second, second + first]) + question[at + 2 :]
