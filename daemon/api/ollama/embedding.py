"""POST /api/embed and the older /api/embeddings: vectors of texts."""

from __future__ import annotations

import time
import uuid
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from daemon.answers import Answers, EmbeddedTexts
from daemon.api.embeddings import MAX_DIMENSIONS, MAX_INPUTS, each_vector, numbers_of
from daemon.api.fields import KeepAliveField
from daemon.api.headers import answer_headers
from daemon.api.ollama.fields import ModelName, ReadingBody, in_ollamas_words
from daemon.api.ollama.lines import NANOSECONDS
from daemon.api.streaming import CLIENT_LEFT, ClientLeft, json_list, or_leave
from daemon.listing import encode
from daemon.loads import Loads
from daemon.options import Options
from daemon.pool.protocol import Embed
from daemon.terms import Terms
from daemon.wants import Wants
from registry.model import Task


class _VectorBody(ReadingBody):
    """Of ``options`` only ``num_ctx`` says something about a vector."""

    model: ModelName
    options: Options = Options()
    keep_alive: KeepAliveField | None = None


class EmbedBody(_VectorBody):
    input: str | Annotated[list[str], Field(max_length=MAX_INPUTS)] = ""
    truncate: bool = True
    dimensions: int | None = Field(None, ge=1, le=MAX_DIMENSIONS)


class EmbeddingsBody(_VectorBody):
    prompt: str = ""


def embedding_router(answers: Answers, loads: Loads) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["Ollama"])

    @router.post("/embed", response_model=None)
    async def embed(body: EmbedBody, request: Request) -> Response:
        """Make a vector of each text; without any the model is loaded."""
        asked_s = time.monotonic()
        texts = [body.input] if isinstance(body.input, str) else body.input
        if not any(texts):
            return await load(body, {"model": body.model, "embeddings": []}, request)
        made = await vectors(body, texts, request, truncate=body.truncate, dimensions=body.dimensions)
        if made is None:
            return Response(status_code=CLIENT_LEFT)
        spent_ns = round((time.monotonic() - asked_s) * NANOSECONDS)
        spent = {"total_duration": spent_ns, "prompt_eval_count": made.prompt_tokens}
        parts = ([encode(numbers_of(vector))] for vector in each_vector(made))
        head = b'{"model":%b,"embeddings":[' % encode(made.model.id)
        response = json_list(head, parts, b"]," + encode(spent)[1:])
        response.headers.update(answer_headers(made.model.id, made.task, made.decision_id))
        return response

    @router.post("/embeddings", response_model=None)
    async def embeddings(body: EmbeddingsBody, request: Request) -> Response:
        """Make a vector of one text; without one the model is loaded."""
        if not body.prompt:
            return await load(body, {"embedding": []}, request)
        made = await vectors(body, [body.prompt], request, truncate=True, dimensions=None)
        if made is None:
            return Response(status_code=CLIENT_LEFT)
        (vector,) = each_vector(made)
        headers = answer_headers(made.model.id, made.task, made.decision_id)
        return JSONResponse({"embedding": numbers_of(vector)}, headers=headers)

    async def vectors(
        body: _VectorBody, texts: list[str], request: Request, *, truncate: bool, dimensions: int | None
    ) -> EmbeddedTexts | None:
        """None: the client has left."""
        asked = Embed(request_id=uuid.uuid4().hex, inputs=[*texts], dimensions=dimensions, is_truncating=truncate)
        terms = Terms(body.keep_alive, context_tokens=body.options.num_ctx)
        with in_ollamas_words():
            try:
                making = answers.embed(body.model, asked, Wants(task=Task.EMBEDDINGS), terms)
                return await or_leave(making, request.receive)
            except ClientLeft:
                return None

    async def load(body: _VectorBody, empty: dict[str, object], request: Request) -> Response:
        try:
            await or_leave(loads.load(body.model, keep_alive=body.keep_alive), request.receive)
        except ClientLeft:
            return Response(status_code=CLIENT_LEFT)
        return JSONResponse(empty)

    return router
