"""Times calls of an engine, for a model that is to be tuned."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from daemon.pool.protocol import Measure
from daemon.worker.backends.base import Backend
from registry.errors import GenerationFailed

_SEED = 5
# Of any vocabulary.
_TOKENS = 256
# What a row begins with: two or more tokens are read by the same kernels.
_PROMPT_TOKENS = 2


def time_calls(
    backend: Backend, measure: Measure, *, vocab_size: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds of each of ``measure.calls``, after one that is not counted. Raises GenerationFailed."""
    random = np.random.default_rng(_SEED)
    room_tokens = _PROMPT_TOKENS + measure.tokens * (measure.calls + 1)
    rows: list[int] = []
    seconds: list[float] = []
    try:
        for _ in range(measure.rows):
            rows.append(backend.open(room_tokens))
            backend.extend(rows[-1], _drawn(random, _PROMPT_TOKENS, vocab_size))
        for _ in range(measure.calls + 1):
            tokens = _drawn(random, max(measure.tokens, measure.rows), vocab_size)
            started = clock()
            _call(backend, rows, tokens)
            seconds.append(clock() - started)
    finally:
        for row in rows:
            backend.close(row)
    return seconds[1:]


def _call(backend: Backend, rows: list[int], tokens: list[int]) -> None:
    """One token for each row; all of them for a single one."""
    if len(rows) == 1 and len(tokens) > 1:
        backend.extend(rows[0], tokens)
        return
    for result in backend.decode(list(zip(rows, tokens, strict=True))):
        if isinstance(result, GenerationFailed):
            raise result


def _drawn(random: np.random.Generator, count: int, vocab_size: int) -> list[int]:
    return [int(token) for token in random.integers(0, min(vocab_size, _TOKENS), count)]
