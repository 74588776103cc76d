"""One answer in OpenAI's words, whole or as a stream of chunks.

Invariant: both say the same; the pieces of a stream add up to the whole answer.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence

from daemon.answers import Answer
from daemon.api.choices import Choice
from daemon.api.streaming import DONE, ending_in_words, event_frame
from daemon.pool.protocol import Finished
from daemon.shapes import Json
from registry.errors import GenerationFailed


class Completion:
    """``whole`` or ``frames`` can be used once.

    ``has_logprobs``: log probabilities were asked for; ``include_usage``: the usage at the end of a stream was.
    """

    def __init__(
        self, answer: Answer, *, choices: int = 1, has_logprobs: bool = False, include_usage: bool = False
    ) -> None:
        self._answer = answer
        self._include_usage = include_usage
        self._choices = [Choice(index, has_logprobs=has_logprobs) for index in range(choices)]
        self._finished: Finished | None = None
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    async def whole(self) -> Json:
        """The whole answer as one ``chat.completion``. Raises SlmregError."""
        async for _delta in self._deltas():
            pass
        end = self._end()
        choices = [choice.whole(finish_reason(end, choice.index)) for choice in self._choices]
        usage = usage_json(self._answer.prompt_tokens, [end])
        return {**self._head("chat.completion"), "choices": choices, "usage": usage}

    def frames(self) -> AsyncIterator[bytes]:
        """The answer as server-sent events, ending with ``[DONE]``, or with an error object if it breaks."""
        return ending_in_words(self._frames())

    async def aclose(self) -> None:
        await self._answer.aclose()

    async def _frames(self) -> AsyncIterator[bytes]:
        # OpenAI: where usage is asked for, every other chunk has it as null.
        no_usage: Json = {"usage": None} if self._include_usage else {}
        async for choice in self._chunk_choices():
            yield event_frame({**self._head("chat.completion.chunk"), "choices": [choice], **no_usage})
        if self._include_usage:
            usage = usage_json(self._answer.prompt_tokens, [self._end()])
            yield event_frame({**self._head("chat.completion.chunk"), "choices": [], "usage": usage})
        yield DONE

    async def _chunk_choices(self) -> AsyncIterator[Json]:
        """The one entry of each chunk's ``choices``."""
        for choice in self._choices:
            yield choice.opening()
        async for chunks in self._deltas():
            for chunk in chunks:
                yield chunk
        for choice in self._choices:
            yield choice.closing(finish_reason(self._end(), choice.index))

    async def _deltas(self) -> AsyncIterator[list[Json]]:
        """What each delta says in chunks; each choice also keeps it."""
        async for event in self._answer:
            if isinstance(event, Finished):
                self._finished = event
            elif event.choice < len(self._choices):
                yield self._choices[event.choice].take(event)

    def _end(self) -> Finished:
        return require_end(self._finished)

    def _head(self, kind: str) -> Json:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._answer.name}


def require_end(finished: Finished | None) -> Finished:
    """Raises GenerationFailed for an answer that has none."""
    if finished is None:
        raise GenerationFailed("The answer broke off: its end never came. Ask again.")
    return finished


def usage_json(prompt_tokens: int, ends: Sequence[Finished]) -> Json:
    """OpenAI's ``usage`` of answers that belong to one request."""
    completion_tokens = sum(end.completion_tokens for end in ends)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": sum(end.cached_tokens for end in ends), "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(end.reasoning_tokens for end in ends),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def finish_reason(end: Finished, index: int) -> str:
    return end.finish_reasons[index] if index < len(end.finish_reasons) else end.finish_reason
