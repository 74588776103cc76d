"""GET /api/version, /api/tags, /api/ps and POST /api/show: which models are here, and which are loaded."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from daemon import __version__
from daemon.api.ollama.cards import Cards
from daemon.api.ollama.fields import ModelName, ReadingBody
from daemon.catalog import Catalog
from daemon.pool.pool import SessionPool
from daemon.pool.session import SessionState
from daemon.shapes import Json
from registry.model import Status

# The Ollama whose API this is: apps ask for at least the one that had what they need.
OLLAMA_VERSION = "0.12.11"
_IN_MEMORY = (SessionState.READY, SessionState.DRAINING)


class ShowBody(ReadingBody):
    model: ModelName
    verbose: bool = Field(False, description="changes nothing: what it would add is not known here")


def library_router(catalog: Catalog, pool: SessionPool, cards: Cards) -> APIRouter:
    """Plain functions: they touch the disk, and run in threads off the event loop."""
    router = APIRouter(prefix="/api", tags=["Ollama"])

    @router.head("/version", include_in_schema=False)
    @router.get("/version")
    def version() -> Json:
        """The version of Ollama whose API this follows, and our own."""
        return {"version": OLLAMA_VERSION, "slmreg": __version__}

    @router.head("/tags", include_in_schema=False)
    @router.get("/tags")
    def tags() -> Json:
        """Every model that can be used now, and every preset."""
        ready = [model for model in catalog.models(include_missing=False) if model.status is Status.READY]
        presets = [cards.preset_tag(preset) for preset in catalog.presets.all()]
        return {"models": [*presets, *(cards.tag(model) for model in ready)]}

    @router.post("/show")
    def show(body: ShowBody) -> Json:
        """One model or preset: what it is and can do, and how it is asked."""
        preset = catalog.presets.find(body.model)
        return cards.of_model(catalog.get(body.model)) if preset is None else cards.of_preset(preset)

    @router.get("/ps")
    def ps() -> Json:
        """What is loaded."""
        sessions = (session for session in pool.snapshot() if session.state in _IN_MEMORY)
        known = ((session, next(iter(catalog.candidates(session.model_id)), None)) for session in sessions)
        return {"models": [cards.running(session, model) for session, model in known if model is not None]}

    return router
