"""POST /v1/completions, OpenAI's older endpoint: prompts that a model goes on from as they are, without a template."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from daemon.answers import Answer, Answers
from daemon.api.chat import StreamOptions, tokens_of
from daemon.api.chat_sampling import DrawingFields, TokenId
from daemon.api.fields import RequestBody
from daemon.api.headers import DEADLINE_HEADER, NO_WISHES, Wishes, wishes_in
from daemon.api.naming import in_the_names_of
from daemon.api.serving import respond
from daemon.api.text_completion import TextCompletion
from daemon.pool.protocol import Generate
from daemon.terms import Terms
from daemon.wants import Wants
from registry.errors import InvalidRequest, UnsupportedParameter

# These two are OpenAI's.
DEFAULT_MAX_TOKENS = 16
MAX_LOGPROBS = 5
# They are answered one after the other.
MAX_PROMPTS = 32

_NAMES = {"messages": "prompt"}
_Tokens = Annotated[list[TokenId], Field(min_length=1)]
_Many = Field(min_length=1, max_length=MAX_PROMPTS)


class CompletionRequest(RequestBody, DrawingFields):
    """OpenAI's request. What says only who asks (``user``) changes nothing."""

    model: str = Field("auto", min_length=1, max_length=512)
    prompt: str | _Tokens | Annotated[list[str], _Many] | Annotated[list[_Tokens], _Many] = Field(
        description="a text, token ids, or up to 32 of one kind"
    )
    echo: bool = Field(False, description="begin each answer with its prompt")
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    best_of: int | None = Field(None, description="only as many as n")
    suffix: str | None = Field(None, description="not supported")
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None

    @property
    def most_tokens(self) -> int:
        return self.max_tokens or DEFAULT_MAX_TOKENS

    @property
    def prompts(self) -> list[str | list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [each for each in self.prompt if not isinstance(each, int)]

    def as_generates(self) -> list[Generate]:
        """One for each prompt. Raises InvalidRequest for what single fields cannot show."""
        self._refuse_what_cannot_be()
        asked = {**self.drawing_fields(), "top_logprobs": self.logprobs}
        return [Generate(request_id=uuid.uuid4().hex, messages=[], prompt=each, **asked) for each in self.prompts]

    def wants(self, wishes: Wishes = NO_WISHES) -> Wants:
        """What it says about the choice of a model."""
        texts = [each for each in self.prompts if isinstance(each, str)]
        longest = max(tokens_of(each) if isinstance(each, str) else len(each) for each in self.prompts)
        return Wants(
            task=wishes.task,
            policy=wishes.policy,
            turns=tuple(texts[:1]),
            context_tokens=longest + self.most_tokens,
        )

    def _refuse_what_cannot_be(self) -> None:
        if self.suffix:
            raise UnsupportedParameter(
                "'suffix' is not supported: each model that can fill a gap has marks of its own for that. Write them "
                "into the prompt, and leave 'suffix' out.",
                param="suffix",
            )
        if self.best_of is not None and self.best_of != self.n:
            raise UnsupportedParameter(
                f"'best_of' can only be as many as 'n' ({self.n}): all answers are given back. Leave it out.",
                param="best_of",
            )
        if self.echo and self.logprobs is not None:
            raise UnsupportedParameter(
                "'logprobs' are those of the answer, and cannot be had beside 'echo'. Leave one out.", param="logprobs"
            )
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("'stream_options' needs \"stream\": true.", param="stream_options")
        empty = next((index for index, each in enumerate(self.prompts) if not each), None)
        if empty is not None:
            raise InvalidRequest(f"Prompt {empty} is empty: there is nothing to go on from.", param="prompt")


def completions_router(answers: Answers) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["OpenAI"])

    @router.post("/completions", response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Go on from each prompt, whole or as server-sent events."""
        first, *others = body.as_generates()
        wishes = wishes_in(request.headers)
        if wishes.deadline_s is not None and others:
            raise InvalidRequest(f"The header {DEADLINE_HEADER} is for a single prompt.", param="prompt")

        def in_words(answer: Answer) -> TextCompletion:
            """The model that was chosen for the first prompt answers all of them."""
            return TextCompletion(
                answer,
                [partial(answers.start, answer.name, each) for each in others],
                prompts=body.prompts,
                choices=body.n,
                is_echo=body.echo,
                has_logprobs=body.logprobs is not None,
                include_usage=body.stream_options is not None and body.stream_options.include_usage,
            )

        with in_the_names_of(_NAMES):
            starting = answers.start(body.model, first, body.wants(wishes), Terms(deadline_s=wishes.deadline_s))
            return await respond(request, starting, in_words, is_stream=body.stream)

    return router
