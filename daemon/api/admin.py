"""``/slmreg``: the registry, the selector and the sessions, for apps and for our own command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from daemon.admin import Admin
from daemon.api.streaming import json_list
from daemon.catalog import Catalog
from daemon.listing import encode
from daemon.pool.pool import SessionPool
from daemon.shapes import Json, session_json
from registry.errors import ModelNotFound

MAX_PAGE = 100_000
MAX_CONTEXT_TOKENS = 100_000_000


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SelectBody(_Body):
    task: str
    context_tokens: int | None = Field(None, ge=1, le=MAX_CONTEXT_TOKENS, description="prompt and answer together")
    tools: bool = Field(False, description="only models that can call tools")


class PinBody(_Body):
    task: str
    model: str


class ModelBody(_Body):
    model: str


def registry_router(admin: Admin, status: Callable[[], Json]) -> APIRouter:
    """What is here and which is chosen. Plain functions: they touch the disk, and run in threads off the event loop.

    There is no route that takes a path: roots are added with the command line, by someone who may read them.
    """
    router = APIRouter(prefix="/slmreg", tags=["slmreg"])

    @router.get("/status")
    def get_status() -> Json:
        return status()

    @router.get("/models", response_model=None)
    def list_models(
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE, offset: Annotated[int, Query(ge=0)] = 0
    ) -> Response:
        page, total = admin.encoded_models(offset=offset, limit=limit)
        after = offset + limit if offset + limit < total else None
        records = ([record for _model, record in part] for part in page)
        return json_list(b'{"data":[', records, b'],"total":%b,"next":%b}' % (encode(total), encode(after)))

    @router.get("/models/{reference:path}")
    def get_model(reference: str) -> Json:
        return admin.model(reference)

    @router.get("/problems")
    def list_problems() -> Json:
        return {"data": admin.problems()}

    @router.post("/scan")
    def scan() -> Json:
        return admin.scan()

    @router.get("/roots")
    def list_roots() -> Json:
        return {"data": admin.roots()}

    @router.post("/select")
    def select(body: SelectBody) -> Json:
        return admin.select(body.task, context_tokens=body.context_tokens, needs_tools=body.tools)

    @router.get("/pins")
    def list_pins() -> Json:
        return {"data": admin.pins()}

    @router.post("/pins")
    def pin(body: PinBody) -> Json:
        return admin.pin(body.task, body.model)

    @router.delete("/pins/{task}")
    def unpin(task: str) -> Json:
        admin.unpin(task)
        return {"unpinned": task}

    @router.get("/hardware")
    def hardware() -> Json:
        return admin.hardware()

    return router


def sessions_router(catalog: Catalog, pool: SessionPool) -> APIRouter:
    """What is loaded."""
    router = APIRouter(prefix="/slmreg", tags=["slmreg"])

    @router.get("/sessions")
    async def sessions() -> list[Json]:
        pinned = {pin.model_id for pin in await asyncio.to_thread(catalog.pins)}
        return [session_json(session, pinned=session.model_id in pinned) for session in pool.snapshot()]

    @router.post("/load")
    async def load(body: ModelBody) -> Json:
        resolved = await asyncio.to_thread(catalog.resolve, body.model)
        await pool.load(resolved.model, resolved.plan)
        return next(session_json(s) for s in pool.snapshot() if s.model_id == resolved.model.id)

    @router.post("/unload")
    async def unload(body: ModelBody) -> Json:
        known = [model.id for model in await asyncio.to_thread(catalog.candidates, body.model)]
        model_id = _which_session(body.model, known, {session.model_id for session in pool.snapshot()})
        return {"id": model_id, "unloaded": await pool.unload(model_id)}

    return router


def _which_session(reference: str, known: Sequence[str], loaded: Collection[str]) -> str:
    """The session that a name means, if one of those it can mean is loaded; also an id that the registry has forgotten.

    Raises ModelNotFound.
    """
    meant = [reference] if reference in loaded else known
    if not meant:
        raise ModelNotFound(reference)
    return next((model_id for model_id in meant if model_id in loaded), meant[0])
