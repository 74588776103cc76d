"""How the tokens of an answer are drawn, which end it, and what is told about them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from daemon.api.fields import Strict
from daemon.pool.protocol import Sampling
from registry.errors import InvalidRequest

MAX_CHOICES = 16
MAX_STOP_STRINGS = 16
MAX_STOP_TOKENS = 128
# These three are OpenAI's.
MAX_TOP_LOGPROBS = 20
MAX_BIASES = 1024
MAX_BIAS = 100
MAX_TOKEN_ID = 2**31 - 1

TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
TokenIdText = Annotated[str, Field(pattern="^(0|[1-9][0-9]{0,8})$")]
Bias = Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS)]


class DrawingFields(Strict):
    """What chats and plain completions have in common: OpenAI's, and with vLLM's names ``top_k``, ``min_p``,
    ``repetition_penalty``, ``min_tokens``, ``stop_token_ids``.

    What is left out is the model's own.
    """

    n: int = Field(1, ge=1, le=MAX_CHOICES)
    max_tokens: int | None = Field(None, ge=1)
    min_tokens: int = Field(0, ge=0)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=MAX_TOKEN_ID)
    min_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    repetition_penalty: float | None = Field(None, ge=0.01, le=10)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[TokenIdText, Bias] = Field(default_factory=dict, max_length=MAX_BIASES)
    stop: str | Annotated[list[str], Field(max_length=MAX_STOP_STRINGS)] | None = None
    stop_token_ids: list[TokenId] = Field(default_factory=list, max_length=MAX_STOP_TOKENS)

    @property
    def most_tokens(self) -> int | None:
        """Of the answer."""
        return self.max_tokens

    def drawing_fields(self) -> dict[str, Any]:
        """Those of ``Generate``. Raises InvalidRequest for what single fields cannot show."""
        stop = [self.stop] if isinstance(self.stop, str) else list(self.stop or ())
        if not all(stop):
            raise InvalidRequest("A stop string must not be empty.", param="stop")
        if self.most_tokens is not None and self.min_tokens > self.most_tokens:
            raise InvalidRequest(
                f"'min_tokens' is {self.min_tokens}, more than the answer may have ({self.most_tokens}).",
                param="min_tokens",
            )
        return {
            "choices": self.n,
            "max_tokens": self.most_tokens,
            "min_tokens": self.min_tokens,
            "stop": stop,
            "stop_token_ids": self.stop_token_ids,
            "sampling": self._sampling(),
        }

    def _sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            seed=self.seed,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            logit_bias=self.logit_bias,
        )


class SamplingFields(DrawingFields):
    """Those of a chat."""

    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=MAX_TOP_LOGPROBS)

    @property
    def most_tokens(self) -> int | None:
        """Of the answer; ``max_completion_tokens`` is the newer name."""
        return self.max_completion_tokens or self.max_tokens

    def sampling_fields(self) -> dict[str, Any]:
        """Those of ``Generate``. Raises InvalidRequest for what single fields cannot show."""
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("'top_logprobs' needs \"logprobs\": true.", param="top_logprobs")
        return {**self.drawing_fields(), "top_logprobs": self.top_logprobs if self.logprobs else None}
