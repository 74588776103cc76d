"""How many tokens of a prompt are read in one call of the engine.

A call cannot be interrupted: a cancel and the next token of every other stream wait for it. So a call is as large as
fits a time, which is measured as it goes. Measured on a 0.5B model with int4 weights on two cores: pieces of 24 tokens
take 0.12 s and read 203 tokens/s, pieces of 128 tokens 0.6 s and 213, pieces of 16 tokens 0.09 s and 178.
"""

from __future__ import annotations

# A cancel has to reach the engine within 150 ms.
CALL_S = 0.11
# Smaller pieces waste the cores.
LEAST_TOKENS = 16
_STEP_TOKENS = 8
# The last piece is not smaller unless the whole prompt is: one token alone goes through other kernels, and how a prompt
# was cut must not show in its logits.
_LEAST_REST_TOKENS = 4
# How much the latest call counts against those before it.
_WEIGHT = 0.5


class PrefillPace:
    """Sizes the pieces of one model's prompts, ``most_tokens`` at most."""

    def __init__(self, most_tokens: int) -> None:
        self._most_tokens = most_tokens
        self._token_s: float | None = None

    def piece(self, left_tokens: int) -> int:
        """How many of the ``left_tokens`` of a prompt to read next; the first piece of all is a small one."""
        size = min(self._piece_tokens(), self._most_tokens)
        rest = left_tokens - size
        if rest <= 0 or (rest < _LEAST_REST_TOKENS and left_tokens <= self._most_tokens):
            return left_tokens
        is_cut_well = rest >= _LEAST_REST_TOKENS or size <= _LEAST_REST_TOKENS
        return size if is_cut_well else left_tokens - _LEAST_REST_TOKENS

    def record(self, tokens: int, seconds: float) -> None:
        """A call with ``tokens`` took ``seconds``. Calls too small to tell are left out."""
        if tokens < min(LEAST_TOKENS, self._most_tokens):
            return
        token_s = seconds / tokens
        before = token_s if self._token_s is None else self._token_s
        self._token_s = (1 - _WEIGHT) * before + _WEIGHT * token_s

    def _piece_tokens(self) -> int:
        if self._token_s is None:
            return LEAST_TOKENS
        if self._token_s * self._most_tokens <= CALL_S:
            return self._most_tokens
        return max(LEAST_TOKENS, round(CALL_S / self._token_s / _STEP_TOKENS) * _STEP_TOKENS)
