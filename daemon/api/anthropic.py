"""Anthropic's API: messages, and the size of a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import Response

from daemon.answers import Answer, Answers
from daemon.api.anthropic_answer import MessageAnswer
from daemon.api.anthropic_request import NAMES, CountTokensRequest, MessagesRequest, as_generate
from daemon.api.headers import wishes_in
from daemon.api.naming import in_the_names_of
from daemon.api.serving import count, respond


def anthropic_router(answers: Answers, *, max_messages: Callable[[], int]) -> APIRouter:
    router = APIRouter(prefix="/v1/messages", tags=["Anthropic"])

    @router.post("", response_model=None)
    async def messages(body: MessagesRequest, request: Request) -> Response:
        """Answer a conversation, whole or as server-sent events."""
        with in_the_names_of(NAMES):
            chat, prefill = body.chat()
            wishes = wishes_in(request.headers)
            generate = as_generate(chat, prefill, max_messages=max_messages())

            def in_words(answer: Answer) -> MessageAnswer:
                return MessageAnswer(answer, max_tokens=body.max_tokens)

            starting = answers.start(body.model, generate, chat.wants(wishes), chat.terms(wishes))
            return await respond(request, starting, in_words, is_stream=body.stream)

    @router.post("/count_tokens", response_model=None)
    async def count_tokens(body: CountTokensRequest, request: Request) -> Response:
        """How many tokens a conversation is for the model, which is loaded for that."""
        with in_the_names_of(NAMES):
            chat, prefill = body.chat()
            wants = chat.wants(wishes_in(request.headers))
            generate = replace(as_generate(chat, prefill, max_messages=max_messages()), max_tokens=1)
            starting = answers.start(body.model, generate, wants)
            return await count(request, starting, lambda tokens: {"input_tokens": tokens})

    return router
