"""Answers with tokens drawn at random from what a constraint allows, in the demo model's vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from daemon.worker.constraint import Constraint

DEMO = Path(__file__).parents[3] / "registry" / "demo_model"
VOCABULARY = 1024
END_IDS = (0, 2)

_tokenizer = Tokenizer.from_file(str(DEMO / "tokenizer.json"))


def zeros(size: int = VOCABULARY) -> Any:
    """Logits of a model that likes everything the same."""
    return np.zeros(size, dtype=np.float32)


def allowed(constraint: Constraint) -> list[int]:
    tokens: list[int] = np.flatnonzero(constraint.apply(zeros()) == 0).tolist()
    return tokens


def text_of(tokens: Sequence[int]) -> str:
    text: str = _tokenizer.decode(list(tokens), skip_special_tokens=False)
    return text


def tokens_of(text: str) -> list[int]:
    tokens: list[int] = _tokenizer.encode(text, add_special_tokens=False).ids
    return tokens


def drawn(constraint: Constraint, *, seed: int = 0, most: int = 400) -> str | None:
    """A whole text, or None where it did not end in ``most`` tokens."""
    random = np.random.default_rng(seed)
    tokens: list[int] = []
    while not constraint.is_complete:
        token = int(random.choice(allowed(constraint)))
        if token in END_IDS:
            break
        if len(tokens) == most:
            return None
        constraint.accept(token)
        tokens.append(token)
    return text_of(tokens)
