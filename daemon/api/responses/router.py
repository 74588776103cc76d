"""The routes of the Responses API."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from daemon.answers import Answers
from daemon.api.headers import wishes_in
from daemon.api.naming import in_the_names_of
from daemon.api.responses.items import Item
from daemon.api.responses.request import NAMES, InputTokensRequest, ResponsesRequest
from daemon.api.responses.response import ResponseInMaking
from daemon.api.serving import count, respond
from daemon.conversations import Conversations, Kept
from daemon.shapes import Json
from registry.errors import InvalidRequest, ResponseNotFound, UnsupportedParameter

MAX_PAGE = 100


def responses_router(answers: Answers, conversations: Conversations, *, max_messages: Callable[[], int]) -> APIRouter:
    router = APIRouter(prefix="/v1/responses", tags=["OpenAI"])

    @router.post("", response_model=None)
    async def create_response(body: ResponsesRequest, request: Request) -> Response:
        """Answer, going on from ``previous_response_id`` where one is given; whole or as server-sent events."""
        before = await asyncio.to_thread(_conversation, conversations, body.previous_response_id, max_messages())
        with in_the_names_of(NAMES):
            chat = body.as_chat(before)
            generate = chat.as_generate(max_messages=max_messages())
            wishes = wishes_in(request.headers)
            starting = answers.start(body.model, generate, chat.wants(wishes), chat.terms(wishes))
            keep = partial(_keep, conversations, body)
            return await respond(
                request, starting, lambda answer: ResponseInMaking(answer, body, keep), is_stream=body.stream
            )

    @router.post("/input_tokens", response_model=None)
    async def count_input_tokens(body: InputTokensRequest, request: Request) -> Response:
        """How many tokens a prompt is for the model, with what it goes on from; the model is loaded for that."""
        before = await asyncio.to_thread(_conversation, conversations, body.previous_response_id, max_messages())
        with in_the_names_of(NAMES):
            chat = body.as_chat(before)
            generate = replace(chat.as_generate(max_messages=max_messages()), max_tokens=1)
            starting = answers.start(body.model, generate, chat.wants(wishes_in(request.headers)))
            return await count(
                request, starting, lambda tokens: {"object": "response.input_tokens", "input_tokens": tokens}
            )

    @router.get("/{response_id}", response_model=None)
    def get_response(response_id: str, *, stream: bool = False) -> Json:
        """An answer that was kept."""
        if stream:
            raise UnsupportedParameter("An answer that was kept is not streamed again. Leave it out.", param="stream")
        return _kept(conversations, response_id).answer

    @router.delete("/{response_id}", response_model=None)
    def delete_response(response_id: str) -> Json:
        """Forget an answer, and what was asked. What went on from it cannot be gone on from any more."""
        if not conversations.delete(response_id):
            raise ResponseNotFound(response_id)
        return {"id": response_id, "object": "response", "deleted": True}

    @router.post("/{response_id}/cancel", response_model=None)
    def cancel_response(response_id: str) -> Json:
        """Only answers in the background can be cancelled, and there are none: close the connection instead."""
        _kept(conversations, response_id)
        raise InvalidRequest(
            "Only answers in the background can be cancelled, and this one was none. Close the connection of an answer "
            "that runs.",
            param="response_id",
        )

    @router.get("/{response_id}/input_items", response_model=None)
    def list_input_items(
        response_id: str,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> Json:
        """What an answer was given, the last first unless ``order`` says otherwise."""
        items = _kept(conversations, response_id).items
        ordered = items if order == "asc" else items[::-1]
        place = next((n for n, item in enumerate(ordered, start=1) if item["id"] == after), None)
        if after is not None and place is None:
            raise InvalidRequest(f"There is no item {after!r:.100} to go on after.", param="after")
        page = ordered[place or 0 :][:limit]
        return {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": (place or 0) + len(page) < len(ordered),
        }

    return router


def _kept(conversations: Conversations, id: str) -> Kept:
    kept = conversations.get(id)
    if kept is None:
        raise ResponseNotFound(id)
    return kept


def _keep(conversations: Conversations, request: ResponsesRequest, answer: Json) -> None:
    items = [_input_item(item) for item in request.items]
    conversations.keep(answer, items, request.previous_response_id)


def _input_item(item: Item) -> Json:
    """With an id of its own, and a text as the part that it stands for."""
    told = item.model_dump(mode="json", exclude_none=True)
    if isinstance(told.get("content"), str):
        kind = "output_text" if told["role"] == "assistant" else "input_text"
        told["content"] = [{"type": kind, "text": told["content"]}]
    return {"id": f"item_{uuid.uuid4().hex}", **told}


def _conversation(conversations: Conversations, id: str | None, max_messages: int) -> list[Json]:
    """All items of the answers up to ``id``, what was asked and what was said. Raises ResponseNotFound."""
    if id is None:
        return []
    turns = conversations.up_to(id, most=max_messages)
    if turns is None:
        raise ResponseNotFound(id, param="previous_response_id")
    return [item for turn in turns for item in (*turn.items, *turn.answer["output"])]
