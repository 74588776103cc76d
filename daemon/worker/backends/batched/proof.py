"""Whether the batched backend gives what onnxruntime-genai gives for a model, found out with a few prompts.

The generator's greedy answers are written down first, so that its copy of the weights is gone before the other one is
loaded. Then the same tokens are fed to rows that join at different times, in pieces, cut and copied, and all
logits are held against those that were written down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.worker.backends.base import Backend
from daemon.worker.sampling import Logits
from registry.errors import GenerationFailed

_PROMPT_TOKENS = (21, 6, 40)
_ANSWER_TOKENS = 4
_PIECE_TOKENS = 16
LEAST_CONTEXT_TOKENS = 2 * max(_PROMPT_TOKENS)
_SEED = 7
# Of the spread (standard deviation) of all logits of a position. Int8 activations are rounded, and one that is rounded
# the other way because a call had more rows changes logits by up to a twentieth of it (measured, int4 and int8); a
# token at a wrong place, or another row's, changes them by several times the spread.
TOLERANCE = 0.25


@dataclass(frozen=True, slots=True)
class Recorded:
    """``logits[k]`` are those behind the prompt and the first ``k`` of the answer's ``tokens``."""

    prompt: list[int]
    tokens: list[int]
    logits: list[Logits]


def record(backend: Backend, vocab_size: int) -> list[Recorded]:
    """The answers that count. Raises GenerationFailed."""
    random = np.random.default_rng(_SEED)
    return [_recorded(backend, random.integers(0, vocab_size, size).tolist()) for size in _PROMPT_TOKENS]


def find_difference(backend: Backend, recorded: Sequence[Recorded]) -> str | None:
    """What ``backend`` does otherwise, in words; None if nothing."""
    try:
        for place, ours, theirs in _replayed(backend, recorded):
            if not is_same(ours, theirs):
                off = float(np.abs(ours - theirs).max())
                return f"its logits differ by {off:.3g} {place}"
    except GenerationFailed as error:
        return error.message
    return None


def is_same(ours: Logits, theirs: Logits) -> bool:
    """Whether two logits of one position differ by no more than the order of computation explains."""
    bound = TOLERANCE * float(theirs.std())
    chosen = int(np.argmax(ours))
    return bool(
        ours.shape == theirs.shape and np.abs(ours - theirs).max() <= bound and theirs.max() - theirs[chosen] <= bound
    )


def _recorded(backend: Backend, prompt: list[int]) -> Recorded:
    row = backend.open(len(prompt) + _ANSWER_TOKENS)
    logits = [backend.extend(row, prompt).copy()]
    tokens: list[int] = []
    for _ in range(_ANSWER_TOKENS):
        tokens.append(int(np.argmax(logits[-1])))
        logits.append(backend.extend(row, tokens[-1:]).copy())
    backend.close(row)
    return Recorded(prompt, tokens, logits)


_Pair = tuple[str, Logits, Logits]


def _replayed(backend: Backend, recorded: Sequence[Recorded]) -> Iterator[_Pair]:
    """Where, our logits and theirs. Raises GenerationFailed."""
    rows: dict[int, Recorded] = {}
    fed: dict[int, int] = {}
    try:
        for each in recorded:
            row = backend.open(len(each.prompt) + _ANSWER_TOKENS)
            for start in range(0, len(each.prompt), _PIECE_TOKENS):
                logits = backend.extend(row, each.prompt[start : start + _PIECE_TOKENS])
                yield from _advanced(backend, rows, fed)
            yield "behind a prompt", logits, each.logits[0]
            rows[row], fed[row] = each, 0
        while any(fed[row] < _ANSWER_TOKENS for row in rows):
            yield from _advanced(backend, rows, fed)
        yield from _cut_and_copied(backend, rows)
    finally:
        for row in rows:
            backend.close(row)


def _advanced(backend: Backend, rows: dict[int, Recorded], fed: dict[int, int]) -> Iterator[_Pair]:
    """One token more for all rows that are not at their end."""
    batch = [(row, each.tokens[fed[row]]) for row, each in rows.items() if fed[row] < _ANSWER_TOKENS]
    if not batch:
        return
    for (row, _), result in zip(batch, backend.decode(batch), strict=True):
        if isinstance(result, GenerationFailed):
            raise result
        fed[row] += 1
        yield "in a batch", result, rows[row].logits[fed[row]]


def _cut_and_copied(backend: Backend, rows: dict[int, Recorded]) -> Iterator[_Pair]:
    for row, each in rows.items():
        half = len(each.prompt) // 2
        copy = backend.copy(row, half, len(each.prompt))
        yield "in a copied row", backend.extend(copy, each.prompt[half:]), each.logits[0]
        backend.close(copy)
        backend.rewind(row, len(each.prompt))
        if backend.can_verify:
            verified = backend.verify(row, each.tokens)
            for ours, theirs in zip(verified, each.logits[1:], strict=True):
                yield "where tokens are checked", ours, theirs
        else:
            yield "in a row that was cut", backend.extend(row, each.tokens), each.logits[-1]
