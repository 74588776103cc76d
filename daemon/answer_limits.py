"""How much one request may ask a model for, whichever API it came by."""

from __future__ import annotations

from dataclasses import dataclass, replace

from daemon.options import TO_THE_END
from daemon.pool.protocol import Generate
from registry.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """Of one request: ``choices`` are the answers to it, ``tokens`` the length of each."""

    choices: int = 16
    tokens: int = 131_072

    def check(self, request: Generate) -> None:
        """Raises InvalidRequest for what asks for more."""
        if request.choices > self.choices:
            raise InvalidRequest(f"{request.choices} answers are more than max_choices = {self.choices}.", param="n")
        asked = request.max_tokens
        if asked is not None and self.tokens < asked != TO_THE_END:
            raise InvalidRequest(
                f"{request.max_tokens} tokens are more than max_answer_tokens = {self.tokens}.", param="max_tokens"
            )

    def within(self, request: Generate, context_tokens: int) -> Generate:
        """The request; one that leaves the end to the context gets one before that where the context is longer."""
        if request.max_tokens in (None, TO_THE_END) and self.tokens < context_tokens:
            return replace(request, max_tokens=self.tokens)
        return request
