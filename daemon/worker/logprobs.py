"""How likely the model itself finds the tokens of an answer, before temperature, penalties or a form change that."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from daemon.pool.protocol import TokenLogprob
from daemon.worker.sampling import Logits, largest

# What OpenAI's API says of tokens that are next to impossible. JSON has no infinity.
LEAST_LOGPROB = -9999.0


class TokenBytes(Protocol):
    def bytes_of(self, token: int) -> bytes:
        """What ``token`` stands for, perhaps only a part of a character."""
        ...


class Logprobs:
    """Tells the log probability of each token and of the ``top`` likeliest in its place."""

    def __init__(self, vocabulary: TokenBytes, top: int) -> None:
        self._vocabulary = vocabulary
        self._top = top

    def of(self, logits: Logits, token: int) -> TokenLogprob:
        """``logits``, shape [vocab], are what the model computed where ``token`` was sampled."""
        values = logits.astype(np.float32)
        values -= values.max()
        values -= np.log(np.exp(values).sum(dtype=np.float64))
        top = [self._entry(int(id), float(values[id]), []) for id in _likeliest(values, self._top)]
        return self._entry(token, float(values[token]), top)

    def _entry(self, token: int, logprob: float, top: list[TokenLogprob]) -> TokenLogprob:
        data = self._vocabulary.bytes_of(token)
        text = data.decode("utf-8", "replace")
        return TokenLogprob(token=text, bytes=list(data), logprob=max(logprob, LEAST_LOGPROB), top=top)


def _likeliest(values: Logits, count: int) -> list[int]:
    """Indices of the ``count`` largest values, the largest first."""
    if count <= 0:
        return []
    ids = largest(values, count)
    order: list[int] = ids[np.argsort(-values[ids], kind="stable")].tolist()
    return order
