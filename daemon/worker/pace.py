"""How many tokens of a prompt are read in one call of the engine.

A call cannot be interrupted: a cancel and the next token of every other stream wait for it. So a call is as large as
fits a time, which is measured as it goes. Measured on a 0.5B model with int4 weights on two cores: pieces of 24 tokens
take 0.12 s and read 203 tokens/s, pieces of 128 tokens 0.6 s and 213, pieces of 16 tokens 0.09 s and 178.

Between the tokens of others a piece is smaller: with one piece after each step of the streams neither starves, and a
piece of less than two steps lets hardly any stream pause for more than three, whatever else the machine does. A prompt
that is short enough for one call is read in one all the same: of 4 and 8 short ones at once, the first tokens come in
half the time then, and all of them in 4 % less.
"""

from __future__ import annotations

# A cancel has to reach the engine within 150 ms.
CALL_S = 0.11
# Smaller pieces waste the cores.
LEAST_TOKENS = 16
# What a piece between the tokens of others has at least. It takes as long as a step of eight streams.
LEAST_BETWEEN_TOKENS = 8
_STEP_TOKENS = 4
# A piece between the tokens of others takes as long as so many of their steps.
_STEPS_PER_PIECE = 1.6
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

    def piece(self, left_tokens: int, bound_s: float = CALL_S) -> int:
        """How many of the ``left_tokens`` of a prompt to read next, in about ``bound_s``.

        The first piece of all is a small one.
        """
        size = min(self._piece_tokens(bound_s), self._most_tokens)
        rest = left_tokens - size
        if rest <= 0 or (rest < _LEAST_REST_TOKENS and left_tokens <= self._most_tokens):
            return left_tokens
        is_cut_well = rest >= _LEAST_REST_TOKENS or size <= _LEAST_REST_TOKENS
        return size if is_cut_well else left_tokens - _LEAST_REST_TOKENS

    def record(self, tokens: int, seconds: float) -> None:
        """A call with ``tokens`` took ``seconds``. Calls too small to tell are left out."""
        if tokens < min(LEAST_BETWEEN_TOKENS, self._most_tokens):
            return
        token_s = seconds / tokens
        before = token_s if self._token_s is None else self._token_s
        self._token_s = (1 - _WEIGHT) * before + _WEIGHT * token_s

    def _piece_tokens(self, bound_s: float) -> int:
        least_tokens = LEAST_TOKENS if bound_s >= CALL_S else LEAST_BETWEEN_TOKENS
        if self._token_s is None:
            return least_tokens
        if self._token_s * self._most_tokens <= bound_s:
            return self._most_tokens
        steps = bound_s / self._token_s / _STEP_TOKENS
        # Between others the bound is one; alone it is what a piece comes close to.
        return max(least_tokens, (round(steps) if bound_s >= CALL_S else int(steps)) * _STEP_TOKENS)


def bound_between(step_s: float | None, max_itl_s: float) -> float:
    """Seconds for a piece that is read between the tokens of others, whose steps take ``step_s`` (None: unknown).

    It adds ``max_itl_s`` at most to the time between two of their tokens.
    """
    most_s = min(max_itl_s, CALL_S)
    return min(most_s, _STEPS_PER_PIECE * step_s) if step_s else most_s
