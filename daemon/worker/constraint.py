"""What holds an answer to a form, token by token."""

from __future__ import annotations

from typing import Protocol

from daemon.worker.sampling import Logits


class Constraint(Protocol):
    """One answer's form. ``apply`` goes before sampling, ``accept`` after it."""

    def apply(self, logits: Logits) -> Logits:
        """``logits``, with -inf for every token that may not come next. Raises GenerationFailed."""
        ...

    def accept(self, token: int) -> None:
        """``token`` was sampled."""
        ...

    @property
    def is_complete(self) -> bool:
        """Nothing more may follow: the answer ends with "stop"."""
        ...
