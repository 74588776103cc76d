"""POST /api/create, /api/copy and DELETE /api/delete: presets. Models themselves are found on the disk, and stay there.

That is also the answer to whoever wants to pull, push or upload one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse
from pydantic import Field, model_validator

from daemon.api.ollama.fields import MAX_NAME, Body, ModelName, without
from daemon.api.streaming import LineStream, line_frame
from daemon.presets import Presets
from daemon.shapes import Json
from registry.errors import InvalidRequest, NotOffered

SUCCESS: Json = {"status": "success"}
# A request for an unbounded upload is answered before any of it is read.
_BLOB = "/blobs/{digest}"


class CreateBody(Body):
    """A name for the model ``from``, with parameters, a system text and messages."""

    model: ModelName
    base: Annotated[str, Field(alias="from", max_length=MAX_NAME)] = ""
    system: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    messages: list[dict[str, Any]] = Field(default_factory=list)
    stream: bool = True

    @model_validator(mode="before")
    @classmethod
    def _only_presets(cls, body: Any) -> Any:
        """Raises UnsupportedParameter."""
        files = "models are found on the disk; put one into a folder that is searched (`slmreg roots`)"
        body = without(body, ("files", "path"), why=files)
        body = without(body, ("adapters",), why="name an adapter behind its model: model@adapter")
        body = without(body, ("quantize", "quantization"), why="models are used as they are")
        body = without(body, ("template",), why="the chat template is the model's own")
        body = without(body, ("license",), why="a licence is read from the model's folder")
        return without(body, ("modelfile",), why="send its lines as 'from', 'system', 'parameters' and 'messages'")


class CopyBody(Body):
    source: str = Field(min_length=1, max_length=MAX_NAME)
    destination: str = Field(min_length=1, max_length=MAX_NAME)


class DeleteBody(Body):
    model: ModelName


def creating_router(presets: Presets) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["Ollama"])

    @router.post("/create", response_model=None)
    def create(body: CreateBody) -> Any:
        """Keep a preset in place of an older one with this name."""
        if not body.base:
            raise InvalidRequest("'from' is missing: it names the model that this is to be a preset of.", param="from")
        presets.create(body.model, body.base, system=body.system, parameters=body.parameters, messages=body.messages)
        return StreamingResponse(_success(), media_type=LineStream.media_type) if body.stream else SUCCESS

    @router.post("/copy", response_model=None)
    def copy(body: CopyBody) -> Response:
        """Give a preset, or a model, another name."""
        presets.create(body.destination, body.source)
        return Response()

    @router.delete("/delete", response_model=None)
    def delete(body: DeleteBody) -> Response:
        """Delete a preset; never a model."""
        presets.remove(body.model)
        return Response()

    @router.post("/pull")
    def pull() -> Json:
        """Refused: nothing is downloaded here."""
        _refuse("pulls no models: it finds those that are on the disk. Put the model into a folder that is searched")

    @router.post("/push")
    def push() -> Json:
        """Refused: nothing is uploaded from here."""
        _refuse("pushes no models: it only uses those that it finds on the disk")

    @router.post(_BLOB)
    def upload(digest: str) -> Json:
        """Refused: nothing is uploaded to here."""
        _refuse("takes no files: it finds models on the disk. Put the model into a folder that is searched")

    return router


async def _success() -> AsyncIterator[bytes]:
    yield line_frame(SUCCESS)


def _refuse(what: str) -> NoReturn:
    raise NotOffered(f"slmreg {what} (`slmreg roots`), or `slmreg list` to see what is here.")
