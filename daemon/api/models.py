"""The models that can be asked, for OpenAI's clients and for Anthropic's, which ask at the same address."""

from __future__ import annotations

from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, Response

from daemon.admin import Admin
from daemon.api.anthropic_models import MAX_PAGE, Page, model_info
from daemon.api.kept import KeptAnswer
from daemon.api.streaming import json_list
from daemon.listing import encode
from daemon.shapes import Json
from registry.model import Model, Status

# What says that a client is Anthropic's. Their paging counts for it alone.
Version = Annotated[str | None, Header(description="from Anthropic's clients: the answer is in their form")]
Place = Annotated[str | None, Query(description="for Anthropic's clients: the model to go on from")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="for Anthropic's clients: models in one page")]


def models_router(admin: Admin) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["OpenAI"])
    kept = KeptAnswer()

    @router.get("/models", response_model=None)
    def list_models(
        anthropic_version: Version = None, after_id: Place = None, before_id: Place = None, limit: Limit = 20
    ) -> Response:
        """Every model that can be used now, and every preset."""
        if anthropic_version is not None:
            return JSONResponse(_page_for_anthropic(admin, Page(limit, after_id, before_id)))
        made_from, models = admin.all_encoded()
        presets = [_openai_preset(preset) for preset in admin.presets()]
        usable = ([_openai_model(*each) for each in part if each[0].status is Status.READY] for part in models)
        whole = chain(usable, [presets])
        return kept.of((made_from, presets), lambda: json_list(b'{"object":"list","data":[', whole, b"]}"))

    @router.get("/models/{reference:path}", response_model=None)
    def get_model(reference: str, anthropic_version: Version = None) -> Response:
        """One model, by id, name or alias, maybe with an adapter behind it as in requests; or one preset."""
        preset = admin.find_preset(reference)
        if preset is not None:
            said = _openai_preset(preset) if anthropic_version is None else encode(model_info(preset["name"]))
            return Response(said, media_type="application/json")
        name, (model, record) = admin.encoded_model(reference)
        if anthropic_version is not None:
            return JSONResponse(model_info(name, model.alias, admin.most_tokens(model)))
        return Response(_openai_model(model, record, name), media_type="application/json")

    return router


def _page_for_anthropic(admin: Admin, page: Page) -> Json:
    _made_from, parts = admin.all_encoded()
    models = (model for part in parts for model, _ in part if model.status is Status.READY)
    usable = [model_info(model.id, model.alias, admin.most_tokens(model)) for model in models]
    return page.of([*usable, *(model_info(preset["name"]) for preset in admin.presets())])


def _openai_model(model: Model, record: bytes, name: str | None = None) -> bytes:
    """OpenAI's four keys, and our ``record`` of the model in a key of its own. ``name`` None: its id."""
    owner = "slmreg-demo" if model.is_demo else (model.publisher or str(model.source))
    names = (encode(name or model.id), encode(owner))
    return b'{"id":%b,"object":"model","created":0,"owned_by":%b,"slmreg":%b}' % (*names, record)


def _openai_preset(preset: Json) -> bytes:
    record = {"id": preset["name"], "object": "model", "created": 0, "owned_by": "slmreg-preset", "slmreg": preset}
    return encode(record)
