"""What the tokens of an answer may be, for answers that must have a form (a schema, an expression, a grammar)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from daemon.worker.sampling import Logits


class Constraint(Protocol):
    """The state of one answer's form. For each token ``apply``, then ``accept``."""

    def apply(self, logits: Logits) -> Logits:
        """A copy of ``logits``, shape [vocab], with minus infinity for every token that may not come next."""
        ...

    def accept(self, token: int) -> None:
        """Go on with the token that was sampled. Raises GenerationFailed if it may not come here."""
        ...

    def fitting(self, tokens: Sequence[int]) -> int:
        """How many of ``tokens``, from the first on, may come next one after the other. Nothing goes on by this."""
        ...

    @property
    def is_complete(self) -> bool:
        """True once nothing more may follow: the answer ends there, as with the end-of-sequence token."""
        ...
