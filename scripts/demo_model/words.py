"""Word lists, and made-up words: copying a word that was never seen is a skill, not a memory."""

from __future__ import annotations

import random

from scripts.demo_model import data

_FILE = data.read("words")
CITIES: list[str] = _FILE["cities"]
NAMES: list[str] = _FILE["names"]
THINGS: list[str] = _FILE["things"]
PLAIN_WORDS: list[str] = _FILE["plain"]
MODELS: list[str] = _FILE["models"]
TASKS: list[str] = _FILE["tasks"]
FOLDERS: list[str] = _FILE["folders"]
LANGUAGES: list[str] = _FILE["languages"]
CURRENCIES: list[str] = _FILE["currencies"]
VERBS: list[str] = _FILE["verbs"]
NOUNS: list[str] = _FILE["nouns"]
SYSTEM_MESSAGES: list[str] = _FILE["system_messages"]


def invent(rng: random.Random, syllables: int | None = None) -> str:
    """A word that does not exist, in lower case."""
    count = syllables or rng.choice([1, 2, 2, 2, 3])
    return "".join(
        rng.choice(_FILE["onsets"]) + rng.choice(_FILE["vowels"]) + rng.choice(_FILE["codas"]) for _ in range(count)
    )


def some_city(rng: random.Random) -> str:
    city = rng.choice(CITIES) if rng.random() < 0.6 else invent(rng).capitalize()
    return city.lower() if rng.random() < 0.1 else city


def some_name(rng: random.Random) -> str:
    name = rng.choice(NAMES) if rng.random() < 0.6 else invent(rng).capitalize()
    return name.lower() if rng.random() < 0.1 else name


def some_model(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(MODELS)
    size = rng.choice(["0.5b", "1b", "1.5b", "3b", "7b", "8b", "14b", "mini", "small", "large"])
    version = rng.choice(["", "", f":{rng.randrange(1, 10)}"])
    return f"{invent(rng, 2)}-{rng.choice(['', f'{rng.randrange(1, 9)}-'])}{size}{version}"


def some_path(rng: random.Random) -> str:
    parts = [rng.choice(FOLDERS) if rng.random() < 0.6 else invent(rng) for _ in range(rng.randrange(1, 4))]
    style = rng.random()
    if style < 0.25:
        return rng.choice("CDE") + ":\\" + "\\".join(parts)
    return ("~/" if style < 0.5 else "/") + "/".join(parts)


def some_thing(rng: random.Random) -> str:
    if rng.random() < 0.25:
        return invent(rng)
    return rng.choice(THINGS)


def some_phrase(rng: random.Random, longest: int = 6) -> str:
    """One to ``longest`` words, real and invented."""
    words = [
        rng.choice(PLAIN_WORDS) if rng.random() < 0.7 else invent(rng) for _ in range(rng.randrange(1, longest + 1))
    ]
    return " ".join(words)
