"""A constraint that holds for the answer and lets the model reason before it as it likes."""

from __future__ import annotations

from collections.abc import Collection

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
        begins = token == self._start_id and self._text.may_begin_reasoning
        if not begins and not self._text.is_reasoning:
            self._answer.accept(token)

    @property
    def is_complete(self) -> bool:
        return not self._text.is_reasoning and self._answer.is_complete
