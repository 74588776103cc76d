"""POST /v1/embeddings, as OpenAI has it."""

from __future__ import annotations

import base64
import sys
import uuid
from array import array
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from daemon.answers import Answers, EmbeddedTexts
from daemon.api.fields import RequestBody
from daemon.api.headers import answer_headers, wishes_in
from daemon.api.streaming import CLIENT_LEFT, ClientLeft, json_list, or_leave
from daemon.listing import encode
from daemon.pool.protocol import Embed
from daemon.wants import Wants
from registry.errors import InvalidRequest
from registry.model import Task
from selector.policy import Policy

# OpenAI's bound.
MAX_INPUTS = 2048
MAX_DIMENSIONS = 65_536

_Tokens = Annotated[list[int], Field(min_length=1)]
_Many = Field(min_length=1, max_length=MAX_INPUTS)


class EmbeddingsRequest(RequestBody):
    """OpenAI's request, with ``policy`` beside it for the choice of ``auto``."""

    model: str = Field("auto", min_length=1, max_length=512)
    input: str | _Tokens | Annotated[list[str], _Many] | Annotated[list[_Tokens], _Many]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, le=MAX_DIMENSIONS)
    policy: Annotated[Policy, Field(strict=False)] | None = None
    # It says who asks; nothing in the answer depends on it.
    user: str | None = None

    def as_embed(self) -> Embed:
        """Raises InvalidRequest for an empty text."""
        inputs = _as_list(self.input)
        empty = next((index for index, each in enumerate(inputs) if not each), None)
        if empty is not None:
            raise InvalidRequest(f"Input {empty} is empty: there is nothing to make a vector of.", param="input")
        return Embed(request_id=uuid.uuid4().hex, inputs=inputs, dimensions=self.dimensions)


def embeddings_router(answers: Answers) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["OpenAI"])

    @router.post("/embeddings", response_model=None)
    async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
        """Make a vector of each text."""
        wants = Wants(task=Task.EMBEDDINGS, policy=wishes_in(request.headers).policy or body.policy)
        try:
            made = await or_leave(answers.embed(body.model, body.as_embed(), wants), request.receive)
        except ClientLeft:
            return Response(status_code=CLIENT_LEFT)
        usage = {"prompt_tokens": made.prompt_tokens, "total_tokens": made.prompt_tokens}
        tail = b'],"model":%b,"usage":%b}' % (encode(made.model.id), encode(usage))
        response = json_list(b'{"object":"list","data":[', _parts(made, body.encoding_format), tail)
        response.headers.update(answer_headers(made.model.id, made.task, made.decision_id))
        return response

    return router


def _as_list(given: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]]) -> list[str | list[int]]:
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], int):
        return [[int(token) for token in given if isinstance(token, int)]]
    return [each if isinstance(each, str) else list(each) for each in given if not isinstance(each, int)]


def _parts(made: EmbeddedTexts, encoding: Literal["float", "base64"]) -> Iterator[list[bytes]]:
    """One vector at a time: all of them as text take a while, and much memory."""
    for index, vector in enumerate(each_vector(made)):
        shown = base64.b64encode(vector).decode("ascii") if encoding == "base64" else numbers_of(vector)
        yield [encode({"object": "embedding", "index": index, "embedding": shown})]


def each_vector(made: EmbeddedTexts) -> Iterator[bytes]:
    """Little-endian float32."""
    size = 4 * made.dimensions
    return (made.vectors[begin : begin + size] for begin in range(0, len(made.vectors), size))


def numbers_of(vector: bytes) -> list[float]:
    """Of little-endian float32."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
