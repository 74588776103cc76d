"""What a model went on with, in the words of OpenAI's older endpoint, whole or as a stream of chunks.

Invariants: both say the same; there is one answer at a time, and it is given back before the next one begins, so that a
request with many prompts takes no more room than one with a single prompt.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from daemon.answers import Answer
from daemon.api.choices import LEAST_LOGPROB
from daemon.api.completion import finish_reason, require_end, usage_json
from daemon.api.streaming import DONE, ending_in_words, event_frame
from daemon.pool.protocol import Delta, Finished, TokenLogprob
from daemon.shapes import Json

Start = Callable[[], Coroutine[Any, Any, Answer]]


class TextChoice:
    """One of the answers to one of the prompts."""

    def __init__(self, index: int, *, has_logprobs: bool = False) -> None:
        self.index = index
        self._has_logprobs = has_logprobs
        self._text = ""
        self._logprobs: list[Json] = []
        self._finish_reason: str | None = None

    def take(self, delta: Delta) -> Json:
        """Keep ``delta``, and say it as a chunk's choice."""
        logprobs = _logprobs_json(delta.logprobs, len(self._text)) if self._has_logprobs else None
        if logprobs is not None:
            self._logprobs.append(logprobs)
        return self._said(delta.text, logprobs)

    def echo(self, prompt: str) -> Json:
        return self._said(prompt)

    def closing(self, reason: str) -> Json:
        self._finish_reason = reason
        return self._choice("", None)

    def whole(self) -> Json:
        return self._choice(self._text, _joined(self._logprobs) if self._has_logprobs else None)

    def _said(self, text: str, logprobs: Json | None = None) -> Json:
        self._text += text
        return self._choice(text, logprobs)

    def _choice(self, text: str, logprobs: Json | None) -> Json:
        return {"text": text, "index": self.index, "logprobs": logprobs, "finish_reason": self._finish_reason}


class TextCompletion:
    """``whole`` or ``frames`` can be used once. ``first`` answers the first of ``prompts``, ``later`` begin the others.

    ``choices`` is the number of answers to each. ``is_echo``: each begins with its prompt.
    """

    def __init__(
        self,
        first: Answer,
        later: Sequence[Start],
        *,
        prompts: Sequence[str | list[int]],
        choices: int = 1,
        is_echo: bool = False,
        has_logprobs: bool = False,
        include_usage: bool = False,
    ) -> None:
        self._answer = first
        self._later = later
        self._prompts = prompts
        self._per_prompt = choices
        self._choices = [TextChoice(index, has_logprobs=has_logprobs) for index in range(choices * len(prompts))]
        self._is_echo = is_echo
        self._include_usage = include_usage
        self._prompt_tokens = 0
        self._ends: list[Finished] = []
        self._head: Json = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": first.name,
        }

    async def whole(self) -> Json:
        """All answers as one ``text_completion``. Raises SlmregError."""
        async for _choice in self._chunk_choices():
            pass
        return {**self._head, "choices": [choice.whole() for choice in self._choices], "usage": self._usage()}

    def frames(self) -> AsyncIterator[bytes]:
        """The answers as server-sent events, ending with ``[DONE]``, or with an error object if one breaks."""
        return ending_in_words(self._frames())

    async def aclose(self) -> None:
        await self._answer.aclose()

    async def _frames(self) -> AsyncIterator[bytes]:
        no_usage: Json = {"usage": None} if self._include_usage else {}
        async for choice in self._chunk_choices():
            yield event_frame({**self._head, "choices": [choice], **no_usage})
        if self._include_usage:
            yield event_frame({**self._head, "choices": [], "usage": self._usage()})
        yield DONE

    async def _chunk_choices(self) -> AsyncIterator[Json]:
        """The one entry of each chunk's ``choices``, prompt after prompt."""
        for number, prompt in enumerate(self._prompts):
            if number:
                self._answer = await self._later[number - 1]()
            async for choice in self._of_prompt(number, prompt):
                yield choice
            await self._answer.aclose()

    async def _of_prompt(self, number: int, prompt: str | list[int]) -> AsyncIterator[Json]:
        choices = self._choices[number * self._per_prompt : (number + 1) * self._per_prompt]
        self._prompt_tokens += self._answer.prompt_tokens
        if self._is_echo:
            text = prompt if isinstance(prompt, str) else self._answer.prompt_text
            for choice in choices:
                yield choice.echo(text)
        finished: Finished | None = None
        async for event in self._answer:
            if isinstance(event, Finished):
                finished = event
            elif event.choice < len(choices):
                yield choices[event.choice].take(event)
        end = require_end(finished)
        self._ends.append(end)
        for index, choice in enumerate(choices):
            yield choice.closing(finish_reason(end, index))

    def _usage(self) -> Json:
        return usage_json(self._prompt_tokens, self._ends)


def _logprobs_json(tokens: Sequence[TokenLogprob], offset: int) -> Json:
    """``offset``: where in the text of the choice the first token begins."""
    texts = [_text_of(token) for token in tokens]
    starts = [offset + sum(map(len, texts[:index])) for index in range(len(texts))]
    top = [{_text_of(each): max(LEAST_LOGPROB, each.logprob) for each in (*token.top, token)} for token in tokens]
    return {
        "tokens": texts,
        "token_logprobs": [max(LEAST_LOGPROB, token.logprob) for token in tokens],
        "top_logprobs": top if any(token.top for token in tokens) else None,
        "text_offset": starts,
    }


def _joined(parts: Sequence[Json]) -> Json:
    tops = [part["top_logprobs"] for part in parts]
    return {
        "tokens": [token for part in parts for token in part["tokens"]],
        "token_logprobs": [logprob for part in parts for logprob in part["token_logprobs"]],
        "top_logprobs": [top for each in tops for top in each] if any(tops) else None,
        "text_offset": [start for part in parts for start in part["text_offset"]],
    }


def _text_of(token: TokenLogprob) -> str:
    """A token that is no whole character as OpenAI writes it: by its bytes."""
    try:
        return bytes(token.bytes).decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.bytes)
