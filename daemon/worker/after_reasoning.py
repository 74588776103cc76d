"""A constraint that holds for the answer and lets the model reason before it as it likes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from daemon.worker.answer import AnswerText
from daemon.worker.constraint import Constraint
from daemon.worker.sampling import Logits


class AfterReasoning:
    """``answer``, from the end of the reasoning on. See ``daemon.worker.constraint``.

    ``text`` knows where in its answer the model is. ``start_id`` is the token that begins a thought, which may come
    instead of the answer's first token; None where it is not one token. Within a thought no token of ``end_ids`` may
    come: an answer would be missing.
    """

    def __init__(self, answer: Constraint, text: AnswerText, *, end_ids: Collection[int], start_id: int | None) -> None:
        self._answer = answer
        self._text = text
        self._end_ids = np.array(sorted(end_ids), dtype=np.intp)
        self._start_id = start_id

    def apply(self, logits: Logits) -> Logits:
        if self._text.is_reasoning:
            masked = logits.copy()
            masked[self._end_ids[self._end_ids < len(masked)]] = -np.inf
            return masked
        masked = self._answer.apply(logits)
        if self._start_id is not None and self._text.may_begin_reasoning:
            masked[self._start_id] = logits[self._start_id]
        return masked

    def accept(self, token: int) -> None:
        """To be called before ``text`` sees the token."""
        if not self._is_thought(token):
            self._answer.accept(token)

    def fitting(self, tokens: Sequence[int]) -> int:
        """Of a thought all, although it may end among them: what comes after it is seen when it is there."""
        is_thought = bool(tokens) and self._is_thought(tokens[0])
        return len(tokens) if is_thought else self._answer.fitting(tokens)

    @property
    def is_complete(self) -> bool:
        return not self._text.is_reasoning and self._answer.is_complete

    def _is_thought(self, token: int) -> bool:
        """Whether ``token``, if it comes next, begins or continues a thought."""
        return self._text.is_reasoning or (token == self._start_id and self._text.may_begin_reasoning)
