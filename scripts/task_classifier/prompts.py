"""The prompts that are fitted and those that are held out: templates, filled, and typed the way people type.

Invariant: the same seed gives the same prompts, and nothing of ``heldout`` or ``by_hand`` is ever in ``training``.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from registry.model import Task

DATA = Path(__file__).with_name("data")
TRAIN_SEED, HELD_OUT_SEED = 7, 11
# Per template: training templates have enough fillings that no single one matters.
TRAIN_FILLINGS, HELD_OUT_FILLINGS = 12, 8

_SLOT = re.compile(r"\{(\w+)\}")
_LONG_WORD = re.compile(r"[a-z]{5,}")
_FENCE_NAMES = ("", "", "python", "js", "text")
_OPENINGS = (
    *("please ", "hey, ", "hi! ", "hello, ", "ok so ", "quick question: ", "can you help me? ", "good morning. "),
    *(
        "I need help with this. ",
        "I am a student. ",
        "one more thing: ",
        "for my homework: ",
        "bitte ",
        "salut, ",
        "hola, ",
    ),
)
_ENDINGS = (" please", " thanks!", " thank you", ", thanks in advance", " be brief", " I don't get it", " asap", " :)")


@dataclass(frozen=True, slots=True)
class Prompt:
    task: Task
    text: str


def training() -> Iterator[Prompt]:
    return _generate("train", TRAIN_SEED, TRAIN_FILLINGS)


def held_out() -> Iterator[Prompt]:
    """From templates that no training prompt was made of."""
    return _generate("heldout", HELD_OUT_SEED, HELD_OUT_FILLINGS)


def by_hand() -> Iterator[Prompt]:
    yield from (Prompt(task, text.replace("\\n", "\n")) for task, text in read_templates("by_hand"))


@cache
def read_templates(name: str) -> tuple[tuple[Task, str], ...]:
    """(task, line) of ``data/<name>.txt``, where ``[task]`` heads the lines of each task."""
    found = []
    task = Task.CHAT
    for line in (DATA / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("[") and line.endswith("]") and line[1:-1] in set(Task):
            task = Task(line[1:-1])
        elif line and not line.startswith("# "):
            found.append((task, line))
    return tuple(found)


@cache
def _fillers() -> Mapping[str, list[str]]:
    return tomllib.loads((DATA / "fillers.toml").read_text(encoding="utf-8"))


def _generate(name: str, seed: int, fillings: int) -> Iterator[Prompt]:
    rng = random.Random(seed)
    for task, template in read_templates(name):
        for _ in range(fillings):
            yield Prompt(task, _type(_fill(template.replace("\\n", "\n"), rng), rng))


def _fill(template: str, rng: random.Random) -> str:
    # What fills a slot is left as it is: code has braces of its own.
    return _SLOT.sub(lambda slot: _filler(slot[1], rng), template)


def _filler(slot: str, rng: random.Random) -> str:
    if slot == "n":
        return str(rng.choice((rng.randint(2, 12), rng.randint(10, 99), rng.randint(100, 2500))))
    if slot == "fence":
        return f"```{rng.choice(_FENCE_NAMES)}\n{rng.choice(_fillers()['code'])}\n```"
    return rng.choice(_fillers()[slot])


def _type(text: str, rng: random.Random) -> str:
    """Politeness, capitals, a missing mark, now and then a typing error: nothing that changes the task."""
    if rng.random() < 0.2:
        text = rng.choice(_OPENINGS) + text
    if rng.random() < 0.12:
        text += rng.choice(_ENDINGS)
    if rng.random() < 0.15:
        text = _misspell(text, rng)
    if rng.random() < 0.15:
        text = text.rstrip("?.! ")
    style = rng.random()
    if style < 0.2 and "\n" not in text:
        return text.lower()
    return text.upper() if style < 0.21 and "\n" not in text else text


def _misspell(text: str, rng: random.Random) -> str:
    """Drops, doubles or swaps one letter inside one longer word."""
    words = list(_LONG_WORD.finditer(text))
    if not words:
        return text
    at = (word := rng.choice(words)).start() + rng.randrange(1, len(word.group()) - 1)
    first, second = text[at], text[at + 1]
    return text[:at] + rng.choice((second, first * 2 + second, second + first)) + text[at + 2 :]
