"""Anthropic's API: messages, and the size of a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from daemon.answers import Answer, Answers
from daemon.api.anthropic_answer import MessageAnswer
from daemon.api.anthropic_request import NAMES, CountTokensRequest, MessagesRequest, as_generate
from daemon.api.headers import answer_headers, wishes_in
from daemon.api.naming import in_the_names_of
from daemon.api.serving import respond
from daemon.api.streaming import CLIENT_LEFT, ClientLeft, or_leave
from daemon.shapes import Json
from registry.errors import ContextLengthExceeded


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
            try:
                answer = await or_leave(answers.start(body.model, generate, wants), request.receive)
            except ClientLeft:
                return Response(status_code=CLIENT_LEFT)
            except ContextLengthExceeded as too_long:
                return JSONResponse(_count(too_long.prompt_tokens))
        async with answer:
            headers = answer_headers(answer.name, answer.task, answer.decision_id)
            return JSONResponse(_count(answer.prompt_tokens), headers=headers)

    return router


def _count(tokens: int) -> Json:
    return {"input_tokens": tokens}
